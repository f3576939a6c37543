/** A UDP socket of the simulated world, for whatever speaks to `DatagramSocket`. */
import type { DatagramSocket, SocketHandlers, SocketStatistics } from "../transport/socket.ts";
import { ADDRESS_WORDS } from "../wire/address.ts";
import type { PacketBatch } from "../wire/batch.ts";
import type { Sleeper } from "./clock.ts";
import type { HostListener, SimHost } from "./host.ts";

/** Payload of an Ethernet frame over IPv4: 1 500 - 20 - 8. */
const ETHERNET_DATAGRAM_BYTES = 1_472;

/** When datagrams that were not taken are announced again. */
const AGAIN_US = 1_000;

/** A socket on a simulated host; the host has no other listener beside it. */
export class SimSocket implements DatagramSocket, HostListener, Sleeper {
  readonly description = "sim";
  readonly preferredBatch = 64;
  /** Local address at the time the socket was opened. */
  readonly localAddress: Int32Array;
  private readonly host: SimHost;
  private readonly mtuBytes: number;
  private handlers: SocketHandlers | undefined;
  private isClosed = false;
  private refused = 0;

  /** @param mtuBytes - Largest UDP payload the local interface takes; larger ones are refused. */
  constructor(host: SimHost, mtuBytes = ETHERNET_DATAGRAM_BYTES) {
    this.host = host;
    this.mtuBytes = mtuBytes;
    this.localAddress = host.publicAddress;
    host.listen(this);
  }

  start(handlers: SocketHandlers): void {
    this.handlers = handlers;
    if (this.host.hasArrivals) this.host.world.clock.schedule(this, this.host.world.nowUs);
  }

  send(batch: PacketBatch, from: number, to: number): number {
    if (this.isClosed) return to;
    for (let i = from; i < to; i++) {
      const port = batch.addresses[i * ADDRESS_WORDS + 4];
      if (batch.lengths[i] > this.mtuBytes || port === 0) this.refused += 1;
      else this.host.transmit(batch, i);
    }
    return to;
  }

  receive(batch: PacketBatch): number {
    return this.isClosed ? 0 : this.host.receive(batch);
  }

  maxDatagramBytes(): number {
    return this.mtuBytes;
  }

  get statistics(): SocketStatistics {
    const { datagramsSent, bytesSent, datagramsReceived, bytesReceived, droppedBuffer } =
      this.host.statistics;
    return {
      datagramsSent,
      bytesSent,
      datagramsReceived,
      bytesReceived,
      kernelDrops: droppedBuffer,
      sendErrors: this.refused,
    };
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.handlers = undefined;
    this.host.world.clock.schedule(this, Number.POSITIVE_INFINITY);
    this.host.listen(undefined);
  }

  handleReadable(nowUs: number): void {
    this.handlers?.handleReadable();
    if (!this.isClosed && this.host.hasArrivals) this.host.world.clock.schedule(this, nowUs + AGAIN_US);
  }

  wake(nowUs: number): void {
    if (!this.host.isPaused && this.host.hasArrivals) this.handleReadable(nowUs);
  }

  handleResume(): void {
    // Datagrams that piled up are announced by handleReadable; a socket has no timers of its own.
  }
}
