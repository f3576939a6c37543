/** What a connection is made of. */
import type { GodwitError } from "../base/errors.ts";
import type { CongestionControllerFactory } from "./congestion/controller.ts";
import type { ConnectionConfig } from "./connection-config.ts";
import type { ConnectionIdRouter } from "./connection-ids.ts";
import type { CryptoProvider } from "./crypto.ts";
import type { HandshakeResult } from "./handshake/configuration.ts";
import type { Pacer } from "./pacer.ts";
import type { Role } from "./streams.ts";

/** A handshake in progress: either side of src/transport/handshake/. */
export interface Handshake {
  readonly result: HandshakeResult | undefined;
  readonly failure: GodwitError | undefined;
  handlePacket(datagram: Uint8Array, nowUs: number): void;
  pollTransmit(nowUs: number): Uint8Array | undefined;
  nextTimeoutUs(): number | undefined;
  handleTimeout(nowUs: number): void;
  /** Only the initiator needs to know that packets under the new keys arrived. */
  handleConfirmed?(): void;
}

/** What a connection is made of. */
export interface ConnectionOptions {
  readonly role: Role;
  readonly crypto: CryptoProvider;
  /** Seed for pacing jitter and skipped packet numbers; not for secrets. */
  readonly seed: number;
  readonly router: ConnectionIdRouter;
  /** Id under which the peer's packets arrive, already routed. */
  readonly localConnectionId: Uint8Array;
  readonly handshake: Handshake;
  /** Six words, see wire/address.ts. */
  readonly peerAddress: Int32Array;
  readonly controllerFactory: CongestionControllerFactory;
  /** The user's cap, shared by all connections of a process. */
  readonly rateCap?: Pacer | undefined;
  /** Largest datagram worth trying on the path, from the local interface. */
  readonly datagramLimitBytes: number;
  /** Whether packets are held until `accept`, so that the application can say first where data goes. */
  readonly waitsForAccept?: boolean | undefined;
  readonly config: ConnectionConfig;
  readonly nowUs: number;
}
