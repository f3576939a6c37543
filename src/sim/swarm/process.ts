/** One process of a run: an endpoint with its application, as the simulated driver calls it. */
import type { Connection } from "../../transport/connection.ts";
import type { Endpoint } from "../../transport/endpoint.ts";
import type { PacketBatch } from "../../wire/batch.ts";
import type { SimEndpoint } from "../endpoint-driver.ts";
import type { SimHost } from "../host.ts";
import { addressKey } from "../sim-address.ts";
import { CheckFailed } from "./checkers.ts";
import type { AmplificationWatch } from "./checkers.ts";

/** What runs above the endpoint. */
export interface SimApplication {
  /** Moves what can be moved; called after each input and before sending. */
  react(nowUs: number): void;
  /** When `react` is wanted although nothing arrived; `undefined`: not at all. */
  nextTimeoutUs(): number | undefined;
}

/** An endpoint with its application and the checks that belong to every process. */
export class SimProcess implements SimEndpoint {
  readonly endpoint: Endpoint;
  private readonly host: SimHost;
  private readonly application: SimApplication;
  private readonly amplification: AmplificationWatch;
  /** Packets each connection took for new ones. */
  private readonly taken = new Map<Connection, number>();
  /** Addresses of peers that were validated, ever, and those this process dialled. */
  private readonly known = new Set<string>();

  constructor(
    host: SimHost,
    endpoint: Endpoint,
    application: SimApplication,
    amplification: AmplificationWatch,
  ) {
    this.host = host;
    this.endpoint = endpoint;
    this.application = application;
    this.amplification = amplification;
  }

  /** This process began to talk to an address by itself. */
  handleDialled(address: Int32Array): void {
    this.known.add(addressKey(address));
  }

  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    for (let i = from; i < to; i++) {
      const key = addressKey(batch.addresses, i);
      if (!this.known.has(key)) this.amplification.handleReceived(this.host.name, key, batch.lengths[i]);
    }
    this.endpoint.handleDatagrams(batch, nowUs);
    for (const connection of this.endpoint.connections) {
      this.taken.set(connection, connection.statistics(nowUs).packetsReceived);
    }
  }

  /** Packets that all connections of this process took for new ones. */
  get packetsTaken(): number {
    let sum = 0;
    for (const count of this.taken.values()) sum += count;
    return sum;
  }

  handleTimeout(nowUs: number): void {
    this.endpoint.handleTimeout(nowUs);
  }

  pollTransmit(batch: PacketBatch, nowUs: number): void {
    this.application.react(nowUs);
    const { connections } = this.endpoint;
    const before = connections.map((connection) => flightOf(connection, nowUs));
    this.endpoint.pollTransmit(batch, nowUs);
    connections.forEach((connection, i) => checkFlight(connection, before[i], nowUs));
    for (const connection of connections) {
      if (connection.state === "established") this.known.add(addressKey(connection.peerAddress));
    }
    for (let i = 0; i < batch.count; i++) {
      const key = addressKey(batch.addresses, i);
      if (!this.known.has(key)) this.amplification.handleSent(this.host.name, key, batch.lengths[i]);
    }
  }

  nextTimeoutUs(): number | undefined {
    const endpointUs = this.endpoint.nextTimeoutUs() ?? Number.POSITIVE_INFINITY;
    const applicationUs = this.application.nextTimeoutUs() ?? Number.POSITIVE_INFINITY;
    const atUs = Math.min(endpointUs, applicationUs);
    return atUs === Number.POSITIVE_INFINITY ? undefined : atUs;
  }
}

interface Flight {
  readonly bytes: number;
  readonly probes: number;
}

function flightOf(connection: Connection, nowUs: number): Flight {
  const { bytesInFlight, probeTimeouts } = connection.statistics(nowUs);
  return { bytes: bytesInFlight, probes: probeTimeouts };
}

/** Probes may exceed the window (RFC 9002 §7.5), MTU probes by one datagram; nothing else may. */
const BEYOND_WINDOW_DATAGRAMS = 2;

function checkFlight(connection: Connection, before: Flight, nowUs: number): void {
  const after = connection.statistics(nowUs);
  if (after.bytesInFlight <= before.bytes || after.probeTimeouts > 0) return;
  const most = after.congestionWindowBytes + BEYOND_WINDOW_DATAGRAMS * after.datagramBytes;
  if (after.bytesInFlight > most) {
    throw new CheckFailed(
      `${after.bytesInFlight} bytes in flight, the window is ${after.congestionWindowBytes}`,
    );
  }
}
