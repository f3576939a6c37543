/** Plays one side of a recorded exchange to a machine and collects what the machine sends. */
import { toHex } from "../../src/base/bytes.ts";
import type { ClassicMachine, PeerAddress } from "../../src/classic/machine.ts";
import { bytesOf } from "./classic-vectors.ts";
import type { RecordedDatagram } from "./classic-vectors.ts";

/** A datagram that the machine sent. */
export interface ReplayedDatagram {
  readonly atUs: number;
  readonly to: PeerAddress;
  readonly hex: string;
}

/**
 * Plays `incoming` at their recorded times and lets timers run in between and for `afterUs` more.
 *
 * @param addressOf - where a recorded datagram comes from.
 */
export function replay(
  machine: ClassicMachine,
  incoming: readonly RecordedDatagram[],
  addressOf: (datagram: RecordedDatagram) => PeerAddress,
  afterUs = 10_000_000,
): readonly ReplayedDatagram[] {
  const sent: ReplayedDatagram[] = [];
  let nowUs = 0;
  const drain = (): void => {
    for (let transmit; (transmit = machine.pollTransmit(nowUs)) !== undefined;)
      sent.push({ atUs: nowUs, to: transmit.to, hex: toHex(transmit.bytes) });
  };
  const passUntil = (untilUs: number): void => {
    for (let dueUs; machine.outcome === undefined && (dueUs = machine.nextTimeoutUs()) !== undefined;) {
      if (dueUs > untilUs) break;
      nowUs = Math.max(nowUs, dueUs);
      machine.handleTimeout(nowUs);
      drain();
    }
    nowUs = untilUs;
  };
  drain();
  for (const datagram of incoming) {
    passUntil(Math.round(datagram.t_ms * 1_000));
    if (machine.outcome !== undefined) break;
    machine.handleDatagram(bytesOf(datagram), addressOf(datagram), nowUs);
    drain();
  }
  passUntil(nowUs + afterUs);
  return sent;
}

/** What reached the side that is played: lost datagrams did not, delayed ones did later. */
export function delivered(
  datagrams: readonly RecordedDatagram[],
  dir: "c2s" | "s2c",
): readonly RecordedDatagram[] {
  return datagrams
    .filter((one) => one.dir === dir && one.action !== "dropped")
    .map((one) => {
      const delay = /^delayed (\d+)ms$/.exec(one.action);
      return delay === null ? one : { ...one, t_ms: one.t_ms + Number(delay[1]) };
    })
    .sort((a, b) => a.t_ms - b.t_ms);
}

/** What one side sent, lost or not, without the copies the network made. */
export function sentBy(
  datagrams: readonly RecordedDatagram[],
  dir: "c2s" | "s2c",
): readonly RecordedDatagram[] {
  return datagrams.filter((one) => one.dir === dir && one.action !== "duplicate-injected");
}
