/**
 * How many acknowledgements a sender asks its receiver for. Pure. Source of the frame that asks:
 * draft-ietf-quic-ack-frequency; of the numbers: docs/design/recovery.md.
 */
import { ACK_EVERY_PACKETS } from "./ack-tracker.ts";

/**
 * ACKs in a round trip that the sender asks for: about one a millisecond within these bounds. Short
 * round trips belong to fast paths, where each ACK costs time of the processor; on long ones a burst
 * that swallows twenty ACKs must not be a silence of several round trips.
 */
const ACKS_PER_ROUND_MIN = 8;
const ACKS_PER_ROUND_MAX = 64;
const ACKS_INTERVAL_US = 1_000;

/** Most packets between two ACKs that the sender asks for: one socket batch. */
const ACK_THRESHOLD_MAX = 64;

/** ACKs to ask for in a round trip of so many microseconds. */
export function acksPerRound(smoothedRttUs: number): number {
  return Math.min(
    ACKS_PER_ROUND_MAX,
    Math.max(ACKS_PER_ROUND_MIN, Math.floor(smoothedRttUs / ACKS_INTERVAL_US)),
  );
}

/** Packets from one ACK to the next, with so many packets and ACKs in a round trip. */
export function ackThreshold(packetsPerRound: number, acks: number): number {
  return Math.min(ACK_THRESHOLD_MAX, Math.max(ACK_EVERY_PACKETS, Math.floor(packetsPerRound / acks)));
}
