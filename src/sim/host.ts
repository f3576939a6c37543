/**
 * A host of the simulated world: an address, a socket buffer, and whoever listens behind it. It can be
 * paused (a stopped or sleeping process), crashed and restarted, moved, and rebound by its NAT.
 */
import type { PacketBatch } from "../wire/batch.ts";
import type { Sleeper } from "./clock.ts";
import { EndpointDriver } from "./endpoint-driver.ts";
import type { SimEndpoint } from "./endpoint-driver.ts";
import { addressKey } from "./sim-address.ts";
import type { World } from "./world.ts";

/** Bytes a socket buffer holds: Linux's default `rmem_max`. */
const SOCKET_BUFFER_BYTES = 212_992;

/** What the kernel books for a datagram beyond its payload: about what Linux's `truesize` adds. */
const SOCKET_BUFFER_OVERHEAD_BYTES = 768;

/** First port a NAT uses after a rebinding: the dynamic ports, RFC 6335 §6. */
const NAT_FIRST_PORT = 49_152;

/** Who listens on a host: the driver of an endpoint, or a socket. */
export interface HostListener {
  /** Datagrams wait in the host's socket buffer: `SimHost.receive` takes them. */
  handleReadable(nowUs: number): void;
  /** The host runs again after a pause. */
  handleResume(nowUs: number): void;
}

interface Arrival {
  readonly datagram: Uint8Array;
  readonly ecn: number;
  readonly from: Int32Array;
}

/** What one host saw. */
export interface HostStatistics {
  datagramsSent: number;
  bytesSent: number;
  datagramsReceived: number;
  bytesReceived: number;
  /** Dropped because the socket buffer was full. */
  droppedBuffer: number;
  /** Dropped because nobody listened. */
  droppedClosed: number;
}

/** One machine. Made by `World.addHost`. */
export class SimHost implements Sleeper {
  readonly world: World;
  readonly name: string;
  readonly statistics: HostStatistics = {
    datagramsSent: 0,
    bytesSent: 0,
    datagramsReceived: 0,
    bytesReceived: 0,
    droppedBuffer: 0,
    droppedClosed: 0,
  };
  /** Bytes the socket buffer holds, kernel overhead included. */
  socketBufferBytes = SOCKET_BUFFER_BYTES;
  private address: Int32Array;
  private readonly formerKeys = new Set<string>();
  private listener: HostListener | undefined;
  private buffer: Arrival[] = [];
  private bufferedBytes = 0;
  private isWaiting = false;
  private pausedUntilUs = 0;
  private natPort = NAT_FIRST_PORT;

  /** @internal */
  constructor(world: World, name: string, address: Int32Array) {
    this.world = world;
    this.name = name;
    this.address = address;
  }

  /** The address others see; a new array after each change. */
  get publicAddress(): Int32Array {
    return this.address;
  }

  /** Whether the process is stopped now. */
  get isPaused(): boolean {
    return this.world.nowUs < this.pausedUntilUs;
  }

  /** Runs an endpoint on this host, in place of what ran before. */
  start(endpoint: SimEndpoint): void {
    this.listen(new EndpointDriver(this, endpoint));
    this.poke();
  }

  /** The process dies: what waits in its socket is gone, later datagrams find nobody. */
  crash(): void {
    this.listen(undefined);
    this.pausedUntilUs = 0;
  }

  /** The process stands still for a span: timers are late, datagrams pile up in the socket buffer. */
  pause(spanUs: number): void {
    this.pausedUntilUs = Math.max(this.pausedUntilUs, this.world.nowUs + spanUs);
    this.world.clock.schedule(this, this.pausedUntilUs);
  }

  /** The NAT in front forgets its mapping: the same host appears with another port. */
  rebind(): void {
    this.natPort += 1;
    const next = this.address.slice();
    next[4] = this.natPort;
    this.takeAddress(next);
  }

  /** The host appears with another address and port, as after a change of network. */
  move(): void {
    this.takeAddress(this.world.freshAddress());
  }

  /** Lets the endpoint send what the application has just asked of it. */
  poke(): void {
    if (this.listener instanceof EndpointDriver && !this.isPaused) this.listener.drive();
  }

  /** Whether datagrams wait in the socket buffer. */
  get hasArrivals(): boolean {
    return this.buffer.length > 0;
  }

  /** @internal whether datagrams to this address were once meant for this host. */
  hasOwned(key: string): boolean {
    return this.formerKeys.has(key);
  }

  /** @internal */
  listen(listener: HostListener | undefined): void {
    if (this.listener instanceof EndpointDriver) this.listener.stop();
    this.listener = listener;
    this.buffer = [];
    this.bufferedBytes = 0;
  }

  /** @internal */
  handleArrival(datagram: Uint8Array, ecn: number, from: Int32Array): void {
    if (this.listener === undefined) {
      this.statistics.droppedClosed += 1;
      return;
    }
    const bytes = datagram.length + SOCKET_BUFFER_OVERHEAD_BYTES;
    if (this.bufferedBytes + bytes > this.socketBufferBytes) {
      this.statistics.droppedBuffer += 1;
      return;
    }
    this.buffer.push({ datagram, ecn, from });
    this.bufferedBytes += bytes;
    if (!this.isWaiting) {
      this.isWaiting = true;
      this.world.wait(this);
    }
  }

  /** @internal the event that brought datagrams is over. */
  drain(): void {
    this.isWaiting = false;
    if (!this.isPaused && this.buffer.length > 0) this.listener?.handleReadable(this.world.nowUs);
  }

  /** Moves datagrams from the socket buffer to the end of a batch, as many as fit; returns how many. */
  receive(batch: PacketBatch): number {
    let taken = 0;
    let dropped = 0;
    for (const { datagram, ecn, from } of this.buffer) {
      if (datagram.length > batch.bytes.length) {
        // It would stay at the head for ever.
        dropped += 1;
      } else {
        if (!batch.hasRoom(datagram.length)) break;
        batch.bytes.set(datagram, batch.usedBytes);
        batch.ecn[batch.push(datagram.length, from, 0)] = ecn;
        this.statistics.datagramsReceived += 1;
        this.statistics.bytesReceived += datagram.length;
        taken += 1;
      }
      this.bufferedBytes -= datagram.length + SOCKET_BUFFER_OVERHEAD_BYTES;
    }
    this.statistics.droppedBuffer += dropped;
    if (taken + dropped === this.buffer.length) this.buffer = [];
    else this.buffer.splice(0, taken + dropped);
    return taken;
  }

  /** Sends datagram `index` of a batch. */
  transmit(batch: PacketBatch, index: number): void {
    this.statistics.datagramsSent += 1;
    this.statistics.bytesSent += batch.lengths[index];
    this.world.transmit(this, batch, index);
  }

  wake(nowUs: number): void {
    if (nowUs < this.pausedUntilUs) {
      this.world.clock.schedule(this, this.pausedUntilUs);
      return;
    }
    if (this.buffer.length > 0) this.listener?.handleReadable(nowUs);
    this.listener?.handleResume(nowUs);
    this.world.drainHosts();
  }

  private takeAddress(next: Int32Array): void {
    this.formerKeys.add(addressKey(this.address));
    this.world.rename(this, this.address, next);
    this.address = next;
  }
}
