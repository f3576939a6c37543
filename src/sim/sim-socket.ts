/** A UDP socket of the simulated world, for whatever speaks to `DatagramSocket`. */
import type { DatagramSocket, SocketHandlers, SocketStatistics } from "../transport/socket.ts";
import type { PacketBatch } from "../wire/batch.ts";
import type { HostListener, SimHost } from "./host.ts";

/** Payload of an Ethernet frame over IPv4: 1 500 - 20 - 8. */
const ETHERNET_DATAGRAM_BYTES = 1_472;

/** A socket on a simulated host; the host has no other listener beside it. */
export class SimSocket implements DatagramSocket, HostListener {
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
  }

  send(batch: PacketBatch, from: number, to: number): number {
    if (this.isClosed) return to;
    for (let i = from; i < to; i++) {
      if (batch.lengths[i] > this.mtuBytes) this.refused += 1;
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
    this.host.listen(undefined);
  }

  handleReadable(): void {
    this.handlers?.handleReadable();
  }

  handleResume(): void {
    // Datagrams that piled up are announced by handleReadable; a socket has no timers of its own.
  }
}
