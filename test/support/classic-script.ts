/** Plays a recording against one of our machines: the recorded peer's datagrams in, ours compared. */
import { expect } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import type { ClassicMachine, PeerAddress } from "../../src/classic/machine.ts";
import { bytesOf } from "./classic-vectors.ts";
import type { ClassicVector, RecordedDatagram } from "./classic-vectors.ts";

/** The other end of a replay. */
export const RECORDED_PEER: PeerAddress = "192.0.2.9:5000";

/** Longest the recorded programs paused between two datagrams, in microseconds. */
const PAUSE_MAX_US = 10_000_000;

/**
 * Replays `vector` with `machine` in `role`. What the machine sends must be the recorded bytes in the
 * recorded order; it is given time when it is expected to send and does not yet. Stops before
 * datagram `until`, where a test wants the machine to do better than the recording.
 */
export function playRecording(
  vector: ClassicVector,
  role: "client" | "server",
  machine: ClassicMachine,
  until = vector.datagrams.length,
): void {
  const ours: RecordedDatagram["dir"] = role === "client" ? "c2s" : "s2c";
  let nowUs = 0;
  for (const [index, datagram] of vector.datagrams.slice(0, until).entries()) {
    nowUs = Math.max(nowUs, Math.round(datagram.t_ms * 1_000));
    if (datagram.dir === ours) {
      // A copy that the relay made is not ours.
      if (datagram.action === "duplicate-injected") continue;
      const limitUs = nowUs + PAUSE_MAX_US;
      let transmit = machine.pollTransmit(nowUs);
      for (let dueUs; transmit === undefined && (dueUs = machine.nextTimeoutUs()) !== undefined;) {
        if (dueUs > limitUs) break;
        nowUs = Math.max(nowUs, dueUs);
        machine.handleTimeout(nowUs);
        transmit = machine.pollTransmit(nowUs);
      }
      expect(
        transmit === undefined ? "nothing" : toHex(transmit.bytes),
        `${vector.vector} datagram ${index}`,
      ).toBe(datagram.hex);
      expect(transmit?.to).toBe(RECORDED_PEER);
    } else if (datagram.action !== "dropped") machine.handleDatagram(bytesOf(datagram), RECORDED_PEER, nowUs);
  }
}
