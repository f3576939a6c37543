/** Two connections with keys already agreed, on two hosts of a simulated world. */
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { World } from "../../src/sim/world.ts";
import type { Hop } from "../../src/sim/world.ts";
import { bbr } from "../../src/transport/congestion/bbr.ts";
import type { CongestionControllerFactory } from "../../src/transport/congestion/controller.ts";
import { Connection } from "../../src/transport/connection.ts";
import type { ConnectionConfig } from "../../src/transport/connection-config.ts";
import { CONNECTION_CONFIG, localTransportParameters } from "../../src/transport/connection-config.ts";
import type { Handshake } from "../../src/transport/connection-options.ts";
import type { HandshakeResult } from "../../src/transport/handshake/configuration.ts";
import type { Role } from "../../src/transport/streams.ts";
import { MemorySink, MemorySource } from "./memory-objects.ts";

/** A handshake that is over before it began. */
class DoneHandshake implements Handshake {
  readonly failure = undefined;
  readonly result: HandshakeResult;

  constructor(result: HandshakeResult) {
    this.result = result;
  }

  handlePacket(): void {}
  pollTransmit(): undefined {}
  nextTimeoutUs(): undefined {}
  handleTimeout(): void {}
}

/** One side of a pair. */
export class Side {
  readonly host: SimHost;
  readonly connection: Connection;
  readonly source = new MemorySource();
  readonly sink = new MemorySink();
  readonly issued: Uint8Array[] = [];
  readonly released: Uint8Array[] = [];

  constructor(
    host: SimHost,
    role: Role,
    peer: SimHost,
    config: ConnectionConfig,
    peerConfig: ConnectionConfig,
    controllerFactory: CongestionControllerFactory,
    datagramLimitBytes: number,
    seed: number,
  ) {
    this.host = host;
    const crypto = nodeCryptoProvider();
    const secrets = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    const ids = [new Uint8Array(8).fill(0xa1), new Uint8Array(8).fill(0xb2)];
    const own = role === "initiator" ? 0 : 1;
    this.connection = new Connection({
      role,
      crypto,
      seed: seed + own,
      router: {
        issueConnectionId: () => {
          const id = crypto.randomBytes(new Uint8Array(8));
          this.issued.push(id);
          return id;
        },
        releaseConnectionId: (id) => void this.released.push(id),
      },
      localConnectionId: ids[own],
      handshake: new DoneHandshake({
        version: 1,
        sendSecret: secrets[own],
        receiveSecret: secrets[1 - own],
        peerIdentity: new Uint8Array(32),
        peerParameters: localTransportParameters(peerConfig),
        peerConnectionId: ids[1 - own],
        handshakeHash: new Uint8Array(64),
        rttUs: undefined,
      }),
      peerAddress: peer.publicAddress,
      controllerFactory,
      datagramLimitBytes,
      config,
      nowUs: host.world.nowUs,
    });
    this.connection.setObjectSource(this.source);
    this.connection.setObjectSink(this.sink);
    this.sink.handleNew = (count, nowUs) => this.connection.consumeObjectBytes(count, nowUs);
    this.connection.handleTimeout(host.world.nowUs);
  }
}

/** What a pair is made of. */
export interface PairOptions {
  readonly seed?: number;
  readonly forward?: Partial<LinkConfig>;
  readonly backward?: Partial<LinkConfig>;
  readonly initiator?: Partial<ConnectionConfig>;
  readonly responder?: Partial<ConnectionConfig>;
  readonly controllerFactory?: CongestionControllerFactory;
  /** Largest datagram worth trying. */
  readonly limit?: number;
}

/** Two sides and the world between them. */
export class Pair {
  readonly world: World;
  readonly initiator: Side;
  readonly responder: Side;
  readonly forward: Hop;
  readonly backward: Hop;

  constructor(options: PairOptions = {}) {
    const { seed = 1, forward = {}, backward = forward, controllerFactory = bbr, limit = 1_452 } = options;
    this.world = new World(seed);
    const a = this.world.addHost("a");
    const b = this.world.addHost("b");
    [this.forward, this.backward] = this.world.connect(a, b, forward, backward);
    const initiatorConfig = { ...CONNECTION_CONFIG, ...options.initiator };
    const responderConfig = { ...CONNECTION_CONFIG, ...options.responder };
    this.initiator = new Side(
      a,
      "initiator",
      b,
      initiatorConfig,
      responderConfig,
      controllerFactory,
      limit,
      seed,
    );
    this.responder = new Side(
      b,
      "responder",
      a,
      responderConfig,
      initiatorConfig,
      controllerFactory,
      limit,
      seed,
    );
    a.start(driven(this.initiator.connection));
    b.start(driven(this.responder.connection));
  }

  /** Sends an object from the initiator; the responder expects it. */
  send(object: number, bytes: Uint8Array): void {
    this.responder.sink.expect(object, bytes.length);
    this.initiator.source.add(object, bytes);
    this.initiator.host.poke();
  }

  /** Runs until the condition holds; returns the virtual time it took in milliseconds, or `Infinity`. */
  runUntil(isDone: () => boolean, limitMs: number): number {
    const startUs = this.world.nowUs;
    const verdict = this.world.run(startUs + limitMs * 1_000, isDone);
    return verdict === "done" ? (this.world.nowUs - startUs) / 1_000 : Infinity;
  }
}

/** The four verbs of a connection, as the simulator calls them. */
function driven(connection: Connection): Parameters<SimHost["start"]>[0] {
  return {
    handleDatagrams: (batch, from, to, nowUs) => connection.handleDatagrams(batch, from, to, nowUs),
    handleTimeout: (nowUs) => connection.handleTimeout(nowUs),
    pollTransmit: (batch, nowUs) => connection.pollTransmit(batch, nowUs),
    nextTimeoutUs: () => connection.nextTimeoutUs(),
  };
}
