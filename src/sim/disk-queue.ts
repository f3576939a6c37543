/** Disk operations in virtual time: each takes a while, and those under way end in any order. */
import type { SeededRandom } from "../base/random.ts";
import type { DiskOperationKind, DiskRequest, DiskResult } from "../files/disk.ts";
import type { SimDisk } from "./disk.ts";
import type { SimHost } from "./host.ts";

/** How often a result looks whether a paused process runs again. */
const PAUSED_RETRY_US = 1_000;

/** How long operations take, uniform between the two. */
export interface DiskLatency {
  readonly minUs: number;
  readonly maxUs: number;
}

/** A process's operations on a disk; made anew with each process. */
export class DiskQueue {
  private readonly host: SimHost;
  private readonly disk: SimDisk;
  private readonly latency: DiskLatency;
  private readonly random: SeededRandom;
  private readonly handle: (id: number, result: DiskResult) => void;
  private readonly underWay = new Set<DiskRequest>();
  private isDead = false;
  /** Told each operation when the disk has carried it out, before the process hears of it. */
  onPerformed: (kind: DiskOperationKind) => void = () => undefined;

  /** @param handle - Told each result; the host is poked afterwards. */
  constructor(
    host: SimHost,
    disk: SimDisk,
    latency: DiskLatency,
    random: SeededRandom,
    handle: (id: number, result: DiskResult) => void,
  ) {
    this.host = host;
    this.disk = disk;
    this.latency = latency;
    this.random = random;
    this.handle = handle;
  }

  /** Operations that were not carried out yet. */
  get pending(): number {
    return this.underWay.size;
  }

  /** Begins an operation. */
  submit(request: DiskRequest): void {
    this.underWay.add(request);
    const { clock } = this.host.world;
    clock.at(clock.nowUs + this.random.integer(this.latency.minUs, this.latency.maxUs), () => {
      if (!this.underWay.delete(request)) return;
      const result = this.disk.perform(request.operation);
      this.onPerformed(request.operation.kind);
      this.finish(request, result);
    });
  }

  /** The process dies: what is under way happens or not; nobody is told. */
  kill(): void {
    if (this.isDead) return;
    this.isDead = true;
    for (const request of this.underWay) if (this.random.chance(0.5)) this.disk.perform(request.operation);
    this.underWay.clear();
    this.disk.killProcess();
  }

  private finish(request: DiskRequest, result: DiskResult): void {
    if (this.isDead) return;
    if (this.host.isPaused) {
      const { clock } = this.host.world;
      clock.at(clock.nowUs + PAUSED_RETRY_US, () => this.finish(request, result));
      return;
    }
    this.handle(request.id, result);
    this.host.poke();
  }
}
