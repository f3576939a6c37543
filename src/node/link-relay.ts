/**
 * `godwit link` as a library: a UDP relay that behaves like a bad network, on the simulator's own link
 * model, with real sockets and real time.
 *
 * Each client address gets a socket of its own towards the target, so that answers find their way back
 * and the target sees one address per client. A rebinding swaps that socket: the target then sees the
 * client at another port, and answers to the old one are lost, as with a NAT that forgot its mapping.
 */
import { createSocket } from "node:dgram";
import type { RemoteInfo, Socket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { GodwitError } from "../base/errors.ts";
import type { LinkConfig } from "../sim/link-config.ts";
import type { LinkStatistics } from "../sim/link-statistics.ts";
import { Link } from "../sim/link.ts";
import type { LinkSink } from "../sim/link.ts";

/** Clients at once; the one silent for longest makes room. Each costs a file descriptor. */
const RELAY_CLIENTS = 512;

/** Datagrams inside one direction: more are dropped, so that a long delay cannot eat the memory. */
const RELAY_DATAGRAMS_INSIDE = 200_000;

/** Kernel buffer asked for, in bytes; the system may give less. */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

/** Shortest timer the host offers, in microseconds. */
const TIMER_TICK_US = 1_000;

/** Direction seen from the client: `up` to the target, `down` back. */
export type RelayDirection = "up" | "down";

/** An IP address or name, and a port. */
export interface RelayAddress {
  readonly host: string;
  readonly port: number;
}

/** What `openLinkRelay` needs to know. */
export interface LinkRelayOptions {
  /** Where clients send to; port 0 takes any free one. */
  readonly listen: RelayAddress;
  /** Where datagrams are passed on to. */
  readonly target: RelayAddress;
  /** Client to target; a perfect link where nothing is said. */
  readonly up?: Partial<LinkConfig>;
  /** Target to client. */
  readonly down?: Partial<LinkConfig>;
  /** Decides every random choice; default 1. */
  readonly seed?: number;
  /** Gives each client a new port towards the target this often, in microseconds; 0: never. */
  readonly rebindEveryUs?: number;
  /** Spins instead of sleeping while something is due within a millisecond: exact, but a whole core. */
  readonly isPrecise?: boolean;
}

/** What a relay did, as JSON. */
export interface RelayStatistics {
  readonly seconds: number;
  readonly seed: number;
  /** Client addresses seen. */
  readonly clients: number;
  readonly rebinds: number;
  readonly up: LinkStatistics;
  readonly down: LinkStatistics;
  /** Dropped because too much was inside, or because the system refused to send. */
  readonly overload: number;
  readonly sendErrors: number;
  /** How much later than due datagrams were passed on. */
  readonly lateMeanUs: number;
  readonly lateMaxUs: number;
}

interface Client {
  readonly key: string;
  readonly host: string;
  readonly port: number;
  socket: Socket;
  /** The socket before the last rebinding: it swallows late answers in silence. */
  former: Socket | undefined;
  /** When it last sent something. */
  heardUs: number;
}

/** A running relay. Made by `openLinkRelay`. */
export class LinkRelay {
  /** The port clients send to. */
  readonly port: number;
  private readonly listener: Socket;
  private readonly target: RelayAddress;
  private readonly isPrecise: boolean;
  private readonly seed: number;
  private readonly startUs = clockUs();
  private readonly links: Readonly<Record<RelayDirection, Link<Client>>>;
  private readonly sinks: Readonly<Record<RelayDirection, LinkSink<Client>>>;
  private readonly clients = new Map<string, Client>();
  private readonly rebindTimer: NodeJS.Timeout | undefined;
  private timer: NodeJS.Timeout | undefined;
  private immediate: NodeJS.Immediate | undefined;
  private timerUs = Number.POSITIVE_INFINITY;
  private isClosed = false;
  private clientsSeen = 0;
  private rebinds = 0;
  private overload = 0;
  private sendErrors = 0;
  private lateSumUs = 0;
  private lateMaxUs = 0;

  /** @internal */
  constructor(listener: Socket, target: RelayAddress, options: LinkRelayOptions) {
    this.listener = listener;
    this.port = listener.address().port;
    this.target = target;
    this.seed = options.seed ?? 1;
    this.isPrecise = options.isPrecise ?? false;
    this.links = {
      up: new Link<Client>(options.up ?? {}, this.seed, "up", this.startUs),
      down: new Link<Client>(options.down ?? {}, this.seed, "down", this.startUs),
    };
    this.sinks = {
      up: { handleDelivery: (datagram, _ecn, client, atUs) => this.passUp(datagram, client, atUs) },
      down: { handleDelivery: (datagram, _ecn, client, atUs) => this.passDown(datagram, client, atUs) },
    };
    listener.on("message", (datagram, from) => this.take("up", datagram, this.clientOf(from)));
    // What the system refuses to send is lost, like anything else on a bad network.
    listener.on("error", () => (this.sendErrors += 1));
    const everyUs = options.rebindEveryUs ?? 0;
    if (everyUs > 0) this.rebindTimer = setInterval(() => this.rebind(), everyUs / 1_000);
  }

  /** Counters so far. */
  get statistics(): RelayStatistics {
    const up = this.links.up.statistics;
    const down = this.links.down.statistics;
    const passed = up.datagramsOut + down.datagramsOut;
    return {
      seconds: (clockUs() - this.startUs) / 1e6,
      seed: this.seed,
      clients: this.clientsSeen,
      rebinds: this.rebinds,
      up: { ...up },
      down: { ...down },
      overload: this.overload,
      sendErrors: this.sendErrors,
      lateMeanUs: passed === 0 ? 0 : Math.round(this.lateSumUs / passed),
      lateMaxUs: Math.round(this.lateMaxUs),
    };
  }

  /** Changes one direction from now on. @throws GodwitError CONFIGURATION as `linkConfig`. */
  configure(direction: RelayDirection, part: Partial<LinkConfig>): void {
    this.links[direction].configure(part, clockUs());
    this.pump();
  }

  /** Gives every client a new port towards the target, now. */
  rebind(): void {
    for (const client of this.clients.values()) {
      closeQuietly(client.former);
      client.former = client.socket;
      client.former.removeAllListeners("message");
      client.socket = this.openUpstream(client);
      this.rebinds += 1;
    }
  }

  /** Stops at once; what is inside is lost. Calling it again does nothing. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    clearInterval(this.rebindTimer);
    clearTimeout(this.timer);
    clearImmediate(this.immediate);
    for (const client of this.clients.values()) this.dropClient(client);
    await new Promise<void>((resolve) => {
      this.listener.close(() => resolve());
    });
  }

  private take(direction: RelayDirection, datagram: Buffer, client: Client): void {
    const link = this.links[direction];
    if (link.datagramsInside >= RELAY_DATAGRAMS_INSIDE) {
      this.overload += 1;
      return;
    }
    link.enqueue(datagram, 0, client, clockUs());
    this.pump();
  }

  /** Passes on what is due and sets the timer for the rest. */
  private pump(): void {
    if (this.isClosed) return;
    const nowUs = clockUs();
    this.links.up.takeDelivered(nowUs, this.sinks.up);
    this.links.down.takeDelivered(nowUs, this.sinks.down);
    const nextUs = Math.min(this.links.up.nextDeliveryUs(), this.links.down.nextDeliveryUs());
    if (nextUs === Number.POSITIVE_INFINITY || this.immediate !== undefined) return;
    if (this.isPrecise && nextUs - nowUs < 2 * TIMER_TICK_US) {
      this.immediate = setImmediate(() => {
        this.immediate = undefined;
        this.pump();
      });
      return;
    }
    if (this.timer !== undefined && this.timerUs <= nextUs) return;
    clearTimeout(this.timer);
    // A timer fires up to a tick after its time: in precise mode the last stretch is spun instead.
    const waitUs = nextUs - nowUs - (this.isPrecise ? TIMER_TICK_US : 0);
    this.timerUs = Math.max(nextUs, nowUs + TIMER_TICK_US);
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        this.pump();
      },
      Math.floor(waitUs / 1_000),
    );
  }

  private passUp(datagram: Uint8Array, client: Client, atUs: number): void {
    this.countLate(atUs);
    if (this.clients.get(client.key) === client) {
      client.socket.send(datagram, this.target.port, this.target.host);
    }
  }

  private passDown(datagram: Uint8Array, client: Client, atUs: number): void {
    this.countLate(atUs);
    this.listener.send(datagram, client.port, client.host);
  }

  private countLate(atUs: number): void {
    const lateUs = Math.max(0, clockUs() - atUs);
    this.lateSumUs += lateUs;
    this.lateMaxUs = Math.max(this.lateMaxUs, lateUs);
  }

  private clientOf(from: RemoteInfo): Client {
    const key = `${from.address}|${from.port}`;
    const known = this.clients.get(key);
    if (known !== undefined) {
      known.heardUs = clockUs();
      return known;
    }
    if (this.clients.size >= RELAY_CLIENTS) {
      let [quietest] = this.clients.values();
      for (const client of this.clients.values()) if (client.heardUs < quietest.heardUs) quietest = client;
      this.dropClient(quietest);
    }
    const client: Client = {
      key,
      host: from.address,
      port: from.port,
      // Replaced on the next line: the socket's listener needs the client.
      socket: this.listener,
      former: undefined,
      heardUs: clockUs(),
    };
    client.socket = this.openUpstream(client);
    this.clients.set(key, client);
    this.clientsSeen += 1;
    return client;
  }

  private openUpstream(client: Client): Socket {
    const socket = createRelaySocket(this.target.host);
    socket.on("error", () => (this.sendErrors += 1));
    socket.on("message", (datagram, from) => {
      // Only the target answers through here: anybody else would get a path into the client.
      if (from.port === this.target.port) this.take("down", datagram, client);
    });
    socket.once("listening", () => enlarge(socket));
    socket.bind(0);
    return socket;
  }

  private dropClient(client: Client): void {
    this.clients.delete(client.key);
    closeQuietly(client.socket);
    closeQuietly(client.former);
  }
}

/**
 * Opens a relay and starts it.
 *
 * @throws GodwitError PORT_IN_USE, NAME_NOT_RESOLVED, or CONFIGURATION for an impossible link.
 */
export async function openLinkRelay(options: LinkRelayOptions): Promise<LinkRelay> {
  const target = { host: await resolveHost(options.target.host), port: options.target.port };
  const host = await resolveHost(options.listen.host);
  const listener = createRelaySocket(host);
  try {
    await new Promise<void>((resolve, reject) => {
      listener.once("error", reject);
      listener.bind(options.listen.port, host, () => {
        listener.off("error", reject);
        resolve();
      });
    });
    enlarge(listener);
    return new LinkRelay(listener, target, options);
  } catch (error) {
    closeQuietly(listener);
    if (error instanceof GodwitError) throw error;
    throw new GodwitError(
      "PORT_IN_USE",
      `cannot listen on ${options.listen.host} port ${options.listen.port}: ${(error as Error).message}; choose another port`,
      { cause: error },
    );
  }
}

/** Microseconds on the host's monotonic clock. */
function clockUs(): number {
  return performance.now() * 1_000;
}

async function resolveHost(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (error) {
    throw new GodwitError("NAME_NOT_RESOLVED", `cannot find ${host}: check the name`, { cause: error });
  }
}

/** A socket of the address's family. Addresses are literal by now: looking them up again would cost a turn. */
function createRelaySocket(host: string): Socket {
  const family = isIP(host);
  return createSocket({
    type: family === 6 ? "udp6" : "udp4",
    lookup: (name, _options, callback) => callback(null, name, family),
  });
}

function enlarge(socket: Socket): void {
  try {
    socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
    socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
  } catch {
    // The default is smaller; a burst may then be lost, as on any network.
  }
}

function closeQuietly(socket: Socket | undefined): void {
  try {
    socket?.close();
  } catch {
    // It was closed already.
  }
}
