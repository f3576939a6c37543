/** Runs a classic datagram system on a UDP socket: the poll loop of src/classic/machine.ts. */
import * as dgram from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP, isIPv6 } from "node:net";
import { performance } from "node:perf_hooks";
import { GodwitError } from "../../base/errors.ts";
import type { ClassicEvent, ClassicMachine, ClassicOutcome, PeerAddress } from "../../classic/machine.ts";

/** Where to bind. A host of `undefined` means every interface, IPv6 and IPv4 where the system has both. */
export interface DatagramBinding {
  readonly host?: string;
  /** 0 for any free port. */
  readonly port: number;
}

/** What `runDatagramMachine` needs beside the machine. */
export interface DatagramRunOptions {
  readonly binding: DatagramBinding;
  /** Ends the run through `handleStop`. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: ClassicEvent) => void;
  /** Called once with the address in use, before the first datagram. */
  readonly onListening?: (address: PeerAddress) => void;
}

/**
 * Socket receive buffer asked for, in bytes. The system's default of 208 kB holds 97 datagrams of
 * 2048 bytes; a burst from an original that does not pace itself is larger.
 */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** Datagrams given to the system and not yet taken; polling pauses at this many. */
const SENDS_PENDING = 64;

/** Longest sleep of one timer, in milliseconds: setTimeout counts in 31 bits. */
const LONGEST_TIMER_MS = 2_000_000_000;

/** Monotonic time in microseconds. */
export function monotonicUs(): number {
  return Math.floor(performance.now() * 1_000);
}

/** `host:port` as machines compare it: IPv6 in brackets, IPv4 carried in IPv6 shown as IPv4. */
export function formatPeer(host: string, port: number): PeerAddress {
  const plain = host.startsWith("::ffff:") && host.includes(".") ? host.slice(7) : host;
  return isIPv6(plain) ? `[${plain}]:${port}` : `${plain}:${port}`;
}

/** Splits what `formatPeer` made. */
function parsePeer(peer: PeerAddress): { readonly host: string; readonly port: number } {
  const colon = peer.lastIndexOf(":");
  return { host: peer.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(peer.slice(colon + 1)) };
}

/**
 * The address of `host`, preferring IPv4: the original programs know nothing else.
 *
 * @throws GodwitError `NAME_NOT_RESOLVED`.
 */
export async function resolvePeer(host: string, port: number): Promise<PeerAddress> {
  if (isIP(host) !== 0) return formatPeer(host, port);
  try {
    const found = await lookup(host, { all: true });
    const address = found.find((entry) => entry.family === 4) ?? found[0];
    return formatPeer(address.address, port);
  } catch (cause) {
    throw new GodwitError("NAME_NOT_RESOLVED", `cannot find the address of ${host}; check the name`, {
      peer: host,
      cause,
    });
  }
}

/** A binding from which all `peers` can be reached: IPv4 alone unless one of them is IPv6. */
export function localBinding(peers: readonly PeerAddress[]): DatagramBinding {
  return peers.some((peer) => peer.startsWith("[")) ? { port: 0 } : { host: "0.0.0.0", port: 0 };
}

/**
 * Binds a socket and runs `machine` on it until it has an outcome and its last datagrams are sent.
 *
 * @throws GodwitError `PORT_IN_USE`, `CONFIGURATION` if the socket cannot be bound.
 */
export async function runDatagramMachine(
  machine: ClassicMachine,
  options: DatagramRunOptions,
): Promise<ClassicOutcome> {
  const socket = await bindSocket(options.binding);
  const run = new DatagramRun(machine, socket, options);
  return run.finished;
}

/** One run: everything happens inside the socket's and the timer's callbacks. */
class DatagramRun {
  readonly finished: Promise<ClassicOutcome>;
  private resolve: (outcome: ClassicOutcome) => void = () => undefined;
  private readonly machine: ClassicMachine;
  private readonly socket: dgram.Socket;
  private readonly isIpv6: boolean;
  private readonly options: DatagramRunOptions;
  private timer: NodeJS.Timeout | undefined;
  private timerDueUs = 0;
  private pendingSends = 0;
  private sentDatagrams = 0;
  private sentBytes = 0;
  private receivedDatagrams = 0;
  private receivedBytes = 0;
  private isOver = false;
  private readonly handleAbort = (): void => {
    this.machine.handleStop(monotonicUs());
    this.drain();
  };

  constructor(machine: ClassicMachine, socket: dgram.Socket, options: DatagramRunOptions) {
    this.machine = machine;
    this.socket = socket;
    this.options = options;
    const address = socket.address();
    this.isIpv6 = address.family === "IPv6";
    this.finished = new Promise((resolve) => {
      this.resolve = resolve;
    });
    socket.on("message", (bytes, remote) => {
      if (this.isOver) return;
      this.receivedDatagrams++;
      this.receivedBytes += bytes.length;
      this.machine.handleDatagram(bytes, formatPeer(remote.address, remote.port), monotonicUs());
      this.drain();
    });
    // An ICMP error or a transient failure: to these protocols it is loss.
    socket.on("error", () => undefined);
    options.onListening?.(formatPeer(address.address, address.port));
    options.signal?.addEventListener("abort", this.handleAbort);
    if (options.signal?.aborted) this.handleAbort();
    else this.drain();
  }

  private drain(): void {
    if (this.isOver) return;
    while (this.pendingSends < SENDS_PENDING) {
      const transmit = this.machine.pollTransmit(monotonicUs());
      if (transmit === undefined) break;
      const { host, port } = parsePeer(transmit.to);
      this.pendingSends++;
      this.sentDatagrams++;
      this.sentBytes += transmit.bytes.length;
      this.socket.send(transmit.bytes, port, this.isIpv6 && isIP(host) === 4 ? `::ffff:${host}` : host, () =>
        this.handleSent(),
      );
    }
    for (const event of this.machine.takeEvents()) this.options.onEvent?.(event);
    if (this.machine.outcome !== undefined && this.pendingSends === 0) this.finish(this.machine.outcome);
    else this.arm();
  }

  private handleSent(): void {
    this.pendingSends--;
    if (this.pendingSends === SENDS_PENDING - 1 || this.machine.outcome !== undefined) this.drain();
  }

  /** One timer, left alone while it fires early enough: most deadlines move on before they are reached. */
  private arm(): void {
    const dueUs = this.machine.nextTimeoutUs();
    if (dueUs === undefined || (this.timer !== undefined && this.timerDueUs <= dueUs)) return;
    clearTimeout(this.timer);
    this.timerDueUs = dueUs;
    const delayMs = Math.ceil((dueUs - monotonicUs()) / 1_000);
    this.timer = setTimeout(
      // Datagrams that wait in the socket go first: after a long write to disk, silence would
      // otherwise be seen where there was none.
      () => setImmediate(() => this.handleTimer()),
      Math.min(Math.max(delayMs, 0), LONGEST_TIMER_MS),
    );
  }

  private handleTimer(): void {
    if (this.isOver) return;
    this.timer = undefined;
    const nowUs = monotonicUs();
    const dueUs = this.machine.nextTimeoutUs();
    if (dueUs !== undefined && dueUs <= nowUs) this.machine.handleTimeout(nowUs);
    this.drain();
  }

  private finish(outcome: ClassicOutcome): void {
    this.isOver = true;
    clearTimeout(this.timer);
    this.options.signal?.removeEventListener("abort", this.handleAbort);
    this.socket.close();
    const { sentDatagrams, sentBytes, receivedDatagrams, receivedBytes } = this;
    const facts = { sentDatagrams, sentBytes, receivedDatagrams, receivedBytes };
    this.options.onEvent?.({ type: "socket-closed", facts });
    this.resolve(outcome);
  }
}

/** Addresses here are numeric already; the default would go through the resolver's queue for each datagram. */
const lookupNumeric = ((host: string, _options: unknown, done: (...found: unknown[]) => void): void => {
  done(null, host, isIP(host));
}) as unknown as NonNullable<dgram.SocketOptions["lookup"]>;

async function bindSocket(binding: DatagramBinding): Promise<dgram.Socket> {
  if (binding.host !== undefined) {
    const { host } = parsePeer(await resolvePeer(binding.host, 0));
    return bindOne(isIPv6(host) ? "udp6" : "udp4", host, binding.port);
  }
  try {
    return await bindOne("udp6", "::", binding.port);
  } catch (error) {
    // No IPv6 on this machine. A port in use stays an error.
    if (error instanceof GodwitError && error.code !== "PORT_IN_USE")
      return bindOne("udp4", "0.0.0.0", binding.port);
    throw error;
  }
}

function bindOne(type: "udp4" | "udp6", host: string, port: number): Promise<dgram.Socket> {
  const socket = dgram.createSocket({ type, lookup: lookupNumeric, recvBufferSize: RECEIVE_BUFFER_BYTES });
  return new Promise((resolve, reject) => {
    socket.once("error", (cause: NodeJS.ErrnoException) => {
      socket.close();
      reject(
        cause.code === "EADDRINUSE"
          ? new GodwitError(
              "PORT_IN_USE",
              `UDP port ${port} is in use; stop the other program or take another port`,
              {
                cause,
              },
            )
          : new GodwitError("CONFIGURATION", `cannot use ${formatPeer(host, port)}: ${cause.code}`, {
              cause,
            }),
      );
    });
    socket.bind({ port, address: host, exclusive: true }, () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}
