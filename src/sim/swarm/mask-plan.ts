/**
 * Plans that lose chosen packets: every pattern of losses among the first twelve packets of one
 * direction, one after another. Random loss finds rare patterns late; there are few enough to try all.
 */
import { HEALTHY_DISK } from "../disk-faults.ts";
import type { SwarmPlan } from "./plan.ts";

/** Packets that a pattern covers: handshake, request, list, data and the last words of a small transfer. */
const MASKED_PACKETS = 12;

/** Patterns of one direction. */
const MASKS = 2 ** MASKED_PACKETS;

/** Patterns of both directions, one after the other. */
export const MASK_SEEDS = 2 * MASKS;

/** Twice a full datagram and some: more than one packet of data, fewer than the pattern covers. */
const FILE_BYTES = 3_000;

/** Longer than any of these runs, in microseconds: nothing heals before. */
const HEAL_AT_US = 60_000_000;

/** Seeds 1 to 4 096 lose packets from the sender, bit by bit; 4 097 to 8 192 from the receiver; then again. */
export function maskPlan(seed: number): SwarmPlan {
  const pattern = (seed - 1) % MASK_SEEDS;
  const path = { rateBytesPerSecond: 2_000_000, delayUs: 20_000 };
  const lossy = { ...path, lossMask: pattern % MASKS };
  const isUp = pattern < MASKS;
  return {
    seed,
    sizes: [FILE_BYTES],
    up: isUp ? lossy : path,
    down: isUp ? path : lossy,
    actions: [],
    healAtUs: HEAL_AT_US,
    controller: "bbr",
    keyUpdatePackets: 1_000_000,
    receiveWindowBytes: 2_000_000,
    disks: { sender: HEALTHY_DISK, receiver: HEALTHY_DISK },
    isPull: false,
    isUpdate: true,
  };
}
