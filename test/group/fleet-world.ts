/** A sender and its receivers in a simulated world: real endpoints, connections, sessions and disks. */
import { SeededRandom } from "../../src/base/random.ts";
import { GodwitError } from "../../src/base/errors.ts";
import { Group } from "../../src/group/group.ts";
import type { GroupPolicy } from "../../src/group/policy.ts";
import { SharedSource } from "../../src/group/shared-source.ts";
import { loadSimEnvironment } from "../../src/node/sim-environment.ts";
import { temporaryIdentity } from "../../src/node/stores/identity.ts";
import { SimDisk } from "../../src/sim/disk.ts";
import { DiskQueue } from "../../src/sim/disk-queue.ts";
import type { SimHost } from "../../src/sim/host.ts";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { World, type Hop } from "../../src/sim/world.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { Endpoint, type EndpointOptions } from "../../src/transport/endpoint.ts";
import type { ClientSession } from "../../src/transfer/client-session.ts";
import { MessageQueue } from "../../src/transfer/control-stream.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import { SessionBinding } from "../../src/transfer/session-binding.ts";
import type { TransferSession } from "../../src/transfer/session.ts";

const environment = await loadSimEnvironment();

const DISK_LATENCY = { minUs: 20, maxUs: 2_000 };
const ID_SPAN = 1_000_000_000;

/** Rules that change nothing: every receiver at once, no retries. */
export const PLAIN: GroupPolicy = {
  maxLanes: 64,
  retries: 0,
  quorum: undefined,
  deadlineUs: undefined,
  minRateBytesPerSecond: undefined,
  laggards: "demote",
};

/** One session on a simulated disk. */
class Job {
  readonly binding: SessionBinding;
  readonly prefix: number;

  constructor(connection: Connection, session: TransferSession, opensStream: boolean, prefix: number) {
    this.binding = new SessionBinding(connection, session, opensStream);
    this.prefix = prefix;
  }

  pump(nowUs: number, disk: DiskQueue): void {
    this.binding.pump(nowUs);
    for (const { id, operation } of this.binding.session.takeDiskRequests())
      disk.submit({ id: this.prefix + id, operation });
  }
}

function least(...times: (number | undefined)[]): number | undefined {
  const atUs = Math.min(...times.map((time) => time ?? Number.POSITIVE_INFINITY));
  return atUs === Number.POSITIVE_INFINITY ? undefined : atUs;
}

function run(
  host: SimHost,
  endpoint: Endpoint,
  react: (nowUs: number) => void,
  next: () => number | undefined,
): void {
  host.start({
    handleDatagrams: (batch, _from, _to, nowUs) => endpoint.handleDatagrams(batch, nowUs),
    handleTimeout: (nowUs) => endpoint.handleTimeout(nowUs),
    pollTransmit: (batch, nowUs) => {
      react(nowUs);
      endpoint.pollTransmit(batch, nowUs);
    },
    nextTimeoutUs: () => least(endpoint.nextTimeoutUs(), next()),
  });
}

/** Says that it stored something else than what was sent. */
class LyingSession extends ServerSession {
  override takeControlBytes(maxBytes: number): Uint8Array {
    if (super.takeControlBytes(maxBytes).length === 0) return new Uint8Array(0);
    const lie = new MessageQueue();
    lie.add({ type: "accept", object: 0, mode: "data", have: [] });
    lie.add({ type: "committed", object: 0, state: "committed", root: new Uint8Array(32) });
    return lie.take(maxBytes);
  }
}

/** A serving machine; its disk outlives its process. */
export class SimReceiver {
  readonly host: SimHost;
  readonly disk: SimDisk;
  /** Refuses everybody when set. */
  refuses = false;
  /** Answers every offer with a receipt for other contents when set. */
  lies = false;
  private readonly world: World;
  private readonly identity = temporaryIdentity(environment.crypto);
  private queue: DiskQueue | undefined;
  private starts = 0;

  constructor(world: World, index: number) {
    this.world = world;
    this.host = world.addHost(`receiver${index}`);
    this.disk = new SimDisk(world.seed, `receiver${index}`, () => 1_790_000_000_000_000 + world.nowUs);
    this.disk.plantDirectory("/in");
  }

  start(options: Partial<EndpointOptions> = {}): void {
    const { world, host, identity } = this;
    const jobs: Job[] = [];
    const endpoint = new Endpoint({
      crypto: environment.crypto,
      identity: identity.signing,
      staticKey: identity.staticKey,
      seed: world.seed + ++this.starts,
      accept: {
        verifyPeer: () => (this.refuses ? new GodwitError("NOT_AUTHORIZED", "not you") : undefined),
      },
      nowUs: world.nowUs,
      ...options,
    });
    const random = new SeededRandom(world.seed, `disk/${host.name}/${this.starts}`);
    const queue = new DiskQueue(host, this.disk, DISK_LATENCY, random, (id, result) => {
      const job = jobs.find(({ prefix }) => prefix === id - (id % ID_SPAN));
      job?.binding.session.handleDiskResult(id % ID_SPAN, result, world.nowUs);
    });
    this.queue = queue;
    const policy = { location: "/in", canRead: true, canWrite: true, keepsExisting: false };
    run(
      host,
      endpoint,
      (nowUs) => {
        for (const connection of endpoint.takeAccepted()) {
          const Session = this.lies ? LyingSession : ServerSession;
          const session = new Session(sessionHost(connection), policy);
          jobs.push(new Job(connection, session, false, (jobs.length + 1) * ID_SPAN));
        }
        for (const job of jobs) job.pump(nowUs, queue);
      },
      () => least(...jobs.map(({ binding }) => binding.nextTimeoutUs())),
    );
  }

  /** The process dies. */
  crash(): void {
    this.queue?.kill();
    this.host.crash();
  }

  file(name: string): Uint8Array | undefined {
    return this.disk.tree().get(`/in/${name}`) ?? this.disk.tree().get(`in/${name}`);
  }
}

function sessionHost(connection: Connection) {
  return {
    hash: environment.hash,
    peerKey: connection.peerIdentity ?? new Uint8Array(32),
    peerFingerprint: "peer",
    peerAddress: "sim",
    umask: 0o022,
  };
}

/** What a fleet is made of. */
export interface FleetOptions {
  readonly seed?: number;
  readonly receivers: number;
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly policy?: Partial<GroupPolicy>;
  readonly supplyBytes?: number;
  /** The link all lanes share. */
  readonly uplink?: Partial<LinkConfig>;
  /** The link of receiver `index`, towards it. */
  readonly downlink?: (index: number) => Partial<LinkConfig>;
  readonly endpoint?: Partial<EndpointOptions>;
  /** Receivers that do not run from the start. */
  readonly absent?: readonly number[];
}

/** One sender, many receivers, one shared uplink. */
export class SimFleet {
  readonly world: World;
  readonly receivers: readonly SimReceiver[];
  readonly group: Group;
  readonly source: SharedSource;
  readonly downlinks: Hop[] = [];
  readonly endedAtUs: (number | undefined)[] = [];
  readonly startedUs: number;
  private readonly sender: SimHost;
  private readonly endpoint: Endpoint;
  private readonly dialling = new Map<number, Connection>();
  private readonly lanes = new Map<number, { job: Job; session: ClientSession }>();
  private readonly lingering: Job[] = [];
  private readonly queue: DiskQueue;

  constructor(options: FleetOptions) {
    const world = new World(options.seed ?? 1);
    this.world = world;
    this.sender = world.addHost("sender");
    const uplink = world.addLink("uplink", options.uplink ?? {});
    const returns = world.addLink("returns", {});
    this.receivers = Array.from({ length: options.receivers }, (_, index) => {
      const receiver = new SimReceiver(world, index);
      const down = world.addLink(`down${index}`, options.downlink?.(index) ?? { delayUs: 5_000 });
      const up = world.addLink(`up${index}`, { delayUs: 5_000 });
      this.downlinks.push(down);
      world.route(this.sender, receiver.host, [uplink, down]);
      world.route(receiver.host, this.sender, [up, returns]);
      if (options.absent?.includes(index) !== true) receiver.start();
      return receiver;
    });
    const disk = new SimDisk(world.seed, "sender", () => 1_790_000_000_000_000 + world.nowUs);
    for (const [name, bytes] of Object.entries(options.files)) disk.plant(`/src/${name}`, bytes);
    const policy = { ...PLAIN, ...options.policy };
    const sources = Object.keys(options.files).map((name) => ({
      location: "/src",
      path: [name],
      name: [name],
    }));
    this.source = new SharedSource({
      hash: environment.hash,
      sources,
      sendsLinks: false,
      rules: [],
      laneCount: Math.min(policy.maxLanes, options.receivers),
      ...(options.supplyBytes === undefined ? {} : { supplyBytes: options.supplyBytes }),
    });
    this.startedUs = world.nowUs;
    const request = { mode: "push", sources, destination: "", options: DEFAULT_OPTIONS, rules: [] } as const;
    this.group = new Group(
      { source: this.source, requests: this.receivers.map(() => request), policy },
      world.nowUs,
    );
    const [identity] = environment.identities;
    this.endpoint = new Endpoint({
      crypto: environment.crypto,
      identity: identity.signing,
      staticKey: identity.staticKey,
      seed: world.seed,
      config: { keepAliveUs: 5_000_000 },
      nowUs: world.nowUs,
      ...options.endpoint,
    });
    const random = new SeededRandom(world.seed, "disk/sender");
    this.queue = new DiskQueue(this.sender, disk, DISK_LATENCY, random, (id, result) =>
      this.source.handleDiskResult(id, result),
    );
    run(
      this.sender,
      this.endpoint,
      (nowUs) => this.react(nowUs),
      () =>
        least(
          this.group.nextTimeoutUs(),
          ...[...this.lanes.values()].map(({ job }) => job.binding.nextTimeoutUs()),
          ...this.lingering.map(({ binding }) => binding.nextTimeoutUs()),
        ),
    );
  }

  /** Runs to the end of the group; throws when it has none in this span of virtual time. */
  run(spanUs = 600_000_000, isDone: () => boolean = () => false): void {
    const verdict = this.world.run(this.world.nowUs + spanUs, () => this.group.isOver || isDone());
    if (verdict !== "done") throw new Error(`${verdict}: ${JSON.stringify(this.group.receivers)}`);
  }

  /** Verdicts in the order of the receivers. */
  get verdicts(): string[] {
    return this.group.ends.map(({ verdict }) => verdict);
  }

  /** Virtual seconds that each receiver took. */
  get seconds(): number[] {
    return this.endedAtUs.map((atUs) => ((atUs ?? Number.POSITIVE_INFINITY) - this.startedUs) / 1e6);
  }

  private react(nowUs: number): void {
    const { group, endpoint } = this;
    if ((group.nextTimeoutUs() ?? Infinity) <= nowUs) group.handleTimeout(nowUs);
    for (const action of group.takeActions()) {
      const { receiver } = action;
      if (action.type === "dial") {
        const address = this.receivers[receiver].host.publicAddress;
        this.dialling.set(receiver, endpoint.connect({ address, verifyPeer: () => undefined }, nowUs));
      } else {
        this.dialling.get(receiver)?.close("INTERRUPTED", action.text, nowUs);
        this.lanes.get(receiver)?.session.cancel(action.code, action.text, nowUs);
      }
    }
    for (const [receiver, connection] of this.dialling) {
      if (connection.state === "handshaking") continue;
      this.dialling.delete(receiver);
      if (connection.state === "established") {
        const session = group.openLane(receiver, sessionHost(connection), nowUs);
        this.lanes.set(receiver, { session, job: new Job(connection, session, true, 0) });
      } else {
        const { code, message } = connection.closeReason ?? { code: "PEER_GONE" as const, message: "gone" };
        group.handleUnreached(receiver, code, message, nowUs);
      }
    }
    for (const [receiver, { job, session }] of this.lanes) {
      job.binding.pump(nowUs);
      for (const event of session.takeEvents()) group.handleEvent(receiver, event, nowUs);
      if (session.outcome === undefined) continue;
      this.lanes.delete(receiver);
      this.lingering.push(job);
      group.handleOutcome(receiver, session.outcome, nowUs);
    }
    for (const { binding } of this.lingering) binding.pump(nowUs);
    for (const { id, operation } of this.source.takeDiskRequests()) this.queue.submit({ id, operation });
    group.receivers.forEach(({ end }, index) => {
      if (end !== undefined) this.endedAtUs[index] ??= nowUs;
    });
  }
}

/** Random bytes of a seed. */
export function content(seed: number, length: number): Uint8Array {
  const random = new SeededRandom(seed, "content");
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = random.uint32();
  return new Uint8Array(words.buffer, 0, length);
}
