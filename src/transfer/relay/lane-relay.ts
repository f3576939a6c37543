/** What one lane of a sender needs to take part in the exchange between receivers. */
import type { EventQueue } from "../../events/queue.ts";
import type { ChunkDealer } from "../chunk-dealer.ts";
import type { MessageQueue } from "../control-stream.ts";
import type { RelayMessage } from "./relay-messages.ts";

/** One lane's part. */
export interface LaneRelay {
  /** Says which chunks each lane sends. */
  readonly dealer: ChunkDealer;
  /** Whether the receiver takes part: then it gets from others what other lanes send. */
  readonly isReady: boolean;
  /** Gives it the way to its receiver. */
  attach(messages: MessageQueue): void;
  /** Takes a message of its receiver. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: RelayMessage, events: EventQueue): void;
  /** The lane is over. */
  end(): void;
}
