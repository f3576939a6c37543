/**
 * What a connection is made of once the handshake gave it keys: the parts that sender and receiver
 * share. A record, not a machine: each part has its own file and its own tests.
 */
import type { SeededRandom } from "../base/random.ts";
import type { EventQueue } from "../events/queue.ts";
import type { TransportParameters } from "../wire/transport-parameters.ts";
import type { AckTracker } from "./ack-tracker.ts";
import type { Closing } from "./closing.ts";
import type { LocalConnectionIds, RemoteConnectionIds } from "./connection-ids.ts";
import type { LimitClock } from "./limit-clock.ts";
import type { ControlQueue } from "./control-queue.ts";
import type { ReceiveWindow, SendCredit } from "./flow-control.ts";
import type { DatagramSize } from "./datagram-size.ts";
import type { PacketKeys } from "./keys.ts";
import type { Liveness } from "./liveness.ts";
import type { MtuDiscovery } from "./mtu-discovery.ts";
import type { ObjectSink, ObjectSource } from "./objects.ts";
import type { Paths } from "./paths.ts";
import type { Recovery } from "./recovery/recovery.ts";
import type { SentFrames } from "./sent-frames.ts";
import type { Role, Streams } from "./streams.ts";

/** The parts of one connection. */
export interface Session {
  readonly role: Role;
  readonly events: EventQueue;
  readonly random: SeededRandom;
  readonly localParameters: TransportParameters;
  readonly peerParameters: TransportParameters;
  readonly keys: PacketKeys;
  readonly tracker: AckTracker;
  readonly recovery: Recovery;
  readonly mtu: MtuDiscovery;
  readonly datagramSize: DatagramSize;
  readonly sentFrames: SentFrames;
  readonly streams: Streams;
  readonly window: ReceiveWindow;
  readonly credit: SendCredit;
  readonly localIds: LocalConnectionIds;
  readonly remoteIds: RemoteConnectionIds;
  readonly control: ControlQueue;
  readonly paths: Paths;
  readonly liveness: Liveness;
  readonly closing: Closing;
  readonly limits: LimitClock;
  /** Where file data comes from and goes to, once the application said so. */
  source: ObjectSource | undefined;
  sink: ObjectSink | undefined;
  /** Whether the peer is known to have all it needs to read our packets. RFC 9001 §4.1.2. */
  isConfirmed: boolean;
}
