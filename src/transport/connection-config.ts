/** Sizes and times of a connection, and how the peer is told about them. */
import {
  IDLE_TIMEOUT_US,
  MAX_DATAGRAM_BYTES,
  MIN_DATAGRAM_BYTES,
  RECEIVE_MEMORY_BYTES,
  RECEIVE_MEMORY_MAX_BYTES,
} from "../base/limits.ts";
import type { TransportParameters } from "../wire/transport-parameters.ts";
import { DEFAULT_TRANSPORT_PARAMETERS } from "../wire/transport-parameters.ts";
import type { KeyLimits } from "./keys.ts";
import { KEY_LIMITS } from "./keys.ts";
import type { StreamLimits } from "./streams.ts";
import { STREAM_LIMITS } from "./streams.ts";

/** Sizes and times of one connection; tests set extreme ones. */
export interface ConnectionConfig {
  /** First size of the receive window for file data, and what it may grow to, in bytes. */
  readonly receiveWindowBytes: number;
  readonly receiveWindowMaxBytes: number;
  readonly streamLimits: StreamLimits;
  readonly keyLimits: KeyLimits;
  /** Silence after which this side gives up, in microseconds. */
  readonly idleTimeoutUs: number;
  /** Time without an acknowledgement, while one is due, after which this side gives up; 0 for never. */
  readonly patienceUs: number;
  /** Silence after which the peer is asked for a sign of life; 0 for never. */
  readonly keepAliveUs: number;
  /** Size of full datagrams before path MTU discovery. */
  readonly datagramBytes: number;
  /** Largest datagram this side receives. */
  readonly maxDatagramBytes: number;
  readonly maxAckDelayUs: number;
  /** Program and version, for people. */
  readonly agent: string;
}

/** The values in use outside of tests. */
export const CONNECTION_CONFIG: ConnectionConfig = {
  receiveWindowBytes: RECEIVE_MEMORY_BYTES,
  receiveWindowMaxBytes: RECEIVE_MEMORY_MAX_BYTES,
  streamLimits: STREAM_LIMITS,
  keyLimits: KEY_LIMITS,
  idleTimeoutUs: IDLE_TIMEOUT_US,
  patienceUs: IDLE_TIMEOUT_US,
  keepAliveUs: 0,
  datagramBytes: MIN_DATAGRAM_BYTES,
  maxDatagramBytes: MAX_DATAGRAM_BYTES,
  maxAckDelayUs: 25_000, // RFC 9000 §18.2, the default
  agent: "",
};

/** The transport parameters that tell the peer about a configuration. */
export function localTransportParameters(config: ConnectionConfig): TransportParameters {
  return {
    ...DEFAULT_TRANSPORT_PARAMETERS,
    maxIdleTimeoutUs: config.idleTimeoutUs,
    maxDatagramBytes: config.maxDatagramBytes,
    initialMaxObjectData: config.receiveWindowBytes,
    initialMaxStreamData: config.streamLimits.windowBytes,
    initialMaxStreams: config.streamLimits.peerStreams,
    maxAckDelayUs: config.maxAckDelayUs,
    activeConnectionIdLimit: 4, // one in use, and spares for moves in quick succession
    agent: config.agent,
  };
}
