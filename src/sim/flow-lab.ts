/**
 * A packet-level laboratory for congestion controllers: bulk flows, each with a real `Recovery`, over
 * one bottleneck in virtual time. Datagrams without content over the one link model (link.ts), so that a
 * minute of 100 Mbit/s takes seconds.
 *
 * Not modelled: packet contents and header overhead (goodput is UDP payload), competing reverse traffic,
 * receiver limits.
 */
import { RangeSet } from "../base/range-set.ts";
import { SeededRandom } from "../base/random.ts";
import { acksPerRound, ackThreshold } from "../transport/ack-frequency.ts";
import type { CongestionControllerFactory } from "../transport/congestion/controller.ts";
import { Recovery } from "../transport/recovery/recovery.ts";
import { ECN } from "../wire/batch.ts";
import { Link } from "./link.ts";
import { burstLoss, type LinkChange, type LinkConfig } from "./link-config.ts";
import { TimeHeap } from "./time-heap.ts";

/** One bottleneck and the delays around it. */
export interface LabPath {
  /** Bottleneck in bits per second. */
  bitsPerSecond: number;
  /** Round-trip time without queue, in microseconds. */
  rttUs: number;
  /** Queue in bytes. */
  queueBytes: number;
  /** Random loss of data packets and of acknowledgements. */
  loss?: number;
  ackLoss?: number;
  /** Mean packets per loss burst: 1 for independent losses. */
  burst?: number;
  /** Share of the one-way delay that jitter adds or takes (0.5 = plus or minus 50 %); keeps order. */
  jitter?: number;
  /** Probability that a packet is late by `reorderUs`. With 1 and no lateness jitter does not keep order. */
  reorder?: number;
  reorderUs?: number;
  duplicate?: number;
  /** Acknowledgements are held and released together at multiples of this time. */
  ackCompressionUs?: number;
  /** Changes of the bottleneck: at a time, to a rate (0 = blackout). */
  rateChanges?: { atUs: number; bitsPerSecond: number }[];
  /** Changes of the random loss. */
  lossChanges?: { atUs: number; loss: number }[];
}

/** One bulk sender. */
export interface LabFlow {
  controller: CongestionControllerFactory;
  startUs?: number;
  /** Stops after so many bytes were acknowledged. */
  bytes?: number;
  /** Packets per acknowledgement; by default as our senders ask for. */
  ackEvery?: number;
  datagramBytes?: number;
  /** No pacing: bursts as the window allows, as a classic TCP. */
  isUnpaced?: boolean;
}

/** What became of one flow. */
export interface LabResult {
  deliveredBytes: number;
  sentBytes: number;
  lostBytes: number;
  spuriousPackets: number;
  packetsSent: number;
  queueDrops: number;
  finishedAtUs: number;
  /** Delivered bytes per bin of one second. */
  perSecond: number[];
  /** Mean and largest queueing delay seen by this flow's packets, in microseconds, per second. */
  queueDelayUs: number[];
  recovery: Recovery;
  probeTimeouts: number;
}

/** Longest delay of an acknowledgement, in microseconds. RFC 9000 §18.2, the default. */
const MAX_ACK_DELAY_US = 25_000;

/** Datagram of a flow that names no size: what Ethernet carries. */
const DATAGRAM_BYTES = 1_452;

/** A datagram of an acknowledgement: its size does not matter on a way back without a limit. */
const ACK_DATAGRAM = new Uint8Array(100);

/** What the two directions of a path have in common. */
function delays(path: LabPath): Partial<LinkConfig> {
  const oneWayUs = path.rttUs / 2;
  return {
    overheadBytes: 0,
    delayUs: oneWayUs,
    jitterUs: (path.jitter ?? 0) * oneWayUs,
    reorderProbability: path.reorder ?? 0,
    reorderDelayUs: path.reorderUs ?? oneWayUs / 2,
  };
}

/** The way of the data. A rate of 0 is a blackout: what is sent meanwhile is lost. */
function forwardLink(path: LabPath, datagramBytes: number): Partial<LinkConfig> {
  const { loss = 0, burst = 1, rateChanges = [], lossChanges = [] } = path;
  const changes: LinkChange[] = lossChanges.map(({ atUs, loss: lossProbability }) => ({
    atUs,
    set: { lossProbability },
  }));
  for (const { atUs, bitsPerSecond } of rateChanges)
    if (bitsPerSecond > 0) changes.push({ atUs, set: { rateBytesPerSecond: bitsPerSecond / 8 } });
  return {
    ...delays(path),
    ...(burst > 1 ? burstLoss(loss, burst) : { lossProbability: loss }),
    rateBytesPerSecond: path.bitsPerSecond / 8,
    // The link counts the datagram that is being sent.
    queueBytes: path.queueBytes + datagramBytes,
    duplicateProbability: path.duplicate ?? 0,
    changes: changes.toSorted((a, b) => a.atUs - b.atUs),
    blackholes: rateChanges.flatMap(({ atUs, bitsPerSecond }, index) =>
      bitsPerSecond === 0 ? [{ fromUs: atUs, untilUs: rateChanges[index + 1]?.atUs ?? Infinity }] : [],
    ),
  };
}

interface Wake {
  readonly atUs: number;
  readonly order: number;
  readonly state: FlowState;
  /** A packet or a timeout may be due; the receiver's ACK may be due; an ACK is released. */
  readonly kind: "send" | "ack-due" | "ack";
  readonly ack: Ack | undefined;
}

interface Ack {
  readonly state: FlowState;
  readonly delayUs: number;
  /** Pairs `low, high`, highest first. */
  readonly ranges: number[];
}

interface Sent {
  readonly state: FlowState;
  readonly number: number;
}

interface FlowState {
  flow: LabFlow;
  recovery: Recovery;
  next: number;
  wakeAt: number;
  received: RangeSet;
  unacked: number;
  /** Its datagrams: all alike. */
  datagram: Uint8Array;
  /** Packets that arrived after later ones since the last acknowledgement. */
  late: number[];
  largestAt: number;
  ackTimer: number;
  result: LabResult;
  size: number;
  done: boolean;
  queueSum: number[];
  queueCount: number[];
}

/** Runs flows over a path for a time and returns what each achieved. */
export function runLab(path: LabPath, flows: LabFlow[], durationUs: number, seed = 1): LabResult[] {
  const wakes = new TimeHeap<Wake>();
  let order = 0;
  const largest = Math.max(...flows.map((flow) => flow.datagramBytes ?? DATAGRAM_BYTES));
  const forward = new Link<Sent>(forwardLink(path, largest), seed, "lab/data");
  const back = new Link<Ack>({ ...delays(path), lossProbability: path.ackLoss ?? 0 }, seed, "lab/acks");

  const wake = (atUs: number, state: FlowState, kind: Wake["kind"], ack?: Ack): void => {
    wakes.push({ atUs, order: order++, state, kind, ack });
  };

  const states = flows.map((flow, index): FlowState => {
    const size = flow.datagramBytes ?? DATAGRAM_BYTES;
    const startUs = flow.startUs ?? 0;
    const own = new SeededRandom(seed * 1000 + index, "flow");
    const recovery = new Recovery({
      controllerFactory: flow.controller,
      datagramBytes: size,
      nowUs: startUs,
      randomFloat: () => own.float(),
      maxAckDelayUs: MAX_ACK_DELAY_US,
    });
    recovery.handleInitialRtt(path.rttUs, startUs);
    const state: FlowState = {
      flow,
      recovery,
      next: 0,
      wakeAt: startUs,
      received: new RangeSet(),
      unacked: 0,
      late: [],
      largestAt: 0,
      ackTimer: Infinity,
      size,
      datagram: new Uint8Array(size),
      done: false,
      queueSum: [],
      queueCount: [],
      result: {
        deliveredBytes: 0,
        sentBytes: 0,
        lostBytes: 0,
        spuriousPackets: 0,
        packetsSent: 0,
        queueDrops: 0,
        finishedAtUs: Infinity,
        perSecond: [],
        queueDelayUs: [],
        recovery,
        probeTimeouts: 0,
      },
    };
    wake(startUs, state, "send");
    return state;
  });

  const transmit = (state: FlowState, now: number): void => {
    const number = state.next++;
    state.recovery.handleSent(number, state.size, now, true, false);
    const { droppedQueue } = forward.statistics;
    forward.enqueue(state.datagram, ECN.notEct, { state, number }, now);
    if (forward.statistics.droppedQueue > droppedQueue) {
      state.result.queueDrops++;
      return;
    }
    const second = Math.floor(now / 1e6);
    const waitUs = ((forward.backlogBytes - state.size) * 1e6) / forward.config.rateBytesPerSecond;
    state.queueSum[second] = (state.queueSum[second] ?? 0) + waitUs;
    state.queueCount[second] = (state.queueCount[second] ?? 0) + 1;
  };

  const sendAck = (state: FlowState, now: number): void => {
    state.unacked = 0;
    state.ackTimer = Infinity;
    const { received } = state;
    const count = Math.min(received.rangeCount, 64 - Math.min(state.late.length, 16));
    const ranges: number[] = [];
    for (let i = 0; i < count; i++) {
      const at = received.rangeCount - 1 - i;
      ranges.push(received.startAt(at), received.endAt(at) - 1);
    }
    // As the receiver does: old ranges that grew are told, too.
    const lowest = ranges[ranges.length - 2];
    state.late.sort((a, b) => b - a);
    for (const number of state.late) {
      if (number < lowest && number < ranges[ranges.length - 2] && ranges.length < 2 * 64)
        ranges.push(number, number);
    }
    state.late.length = 0;
    back.enqueue(ACK_DATAGRAM, ECN.notEct, { state, delayUs: now - state.largestAt, ranges }, now);
    while (received.rangeCount > 4_096) received.dropLowest();
  };

  const drive = (state: FlowState, now: number): void => {
    const { recovery } = state;
    if (state.done) return;
    const due = recovery.nextTimeoutUs();
    if (due !== undefined && due <= now) recovery.handleTimeout(now, handler);
    for (let probes = recovery.takeProbeCount(); probes > 0; probes--) transmit(state, now);
    let sendAt = Infinity;
    const { bytes } = state.flow;
    while (recovery.canSend(state.size)) {
      if (bytes !== undefined && recovery.statistics.bytesAcked + recovery.bytesInFlight >= bytes) {
        recovery.handleAppLimited(now);
        break;
      }
      sendAt = state.flow.isUnpaced ? now : recovery.nextSendTimeUs(now);
      if (sendAt > now) break;
      transmit(state, now);
      sendAt = Infinity;
    }
    const at = Math.max(now, Math.min(sendAt, recovery.nextTimeoutUs() ?? Infinity));
    if (at < Infinity && (state.wakeAt <= now || at < state.wakeAt)) {
      state.wakeAt = at;
      wake(Math.max(at, now + 1), state, "send");
    }
  };

  const handler = {
    handlePacketAcked(): void {},
    handlePacketLost(): void {},
    handleSpuriousLoss(): void {},
  };

  const takeAck = ({ state, delayUs, ranges }: Ack, now: number): void => {
    state.recovery.handleAck(ranges[1], delayUs, ranges, ranges.length / 2, now, handler);
    drive(state, now);
  };

  const takePacket = ({ state, number }: Sent, now: number): void => {
    const { received, result } = state;
    const wasLargest = number >= received.end;
    const isGap = number > received.end;
    if (received.add(number, number + 1) === 1) {
      result.deliveredBytes += state.size;
      const second = Math.floor(now / 1e6);
      result.perSecond[second] = (result.perSecond[second] ?? 0) + state.size;
      if (state.flow.bytes !== undefined && result.deliveredBytes >= state.flow.bytes && !state.done) {
        state.done = true;
        result.finishedAtUs = now;
      }
    }
    if (wasLargest) state.largestAt = now;
    else state.late.push(number);
    const { lossProbability, burstEnterProbability } = forward.config;
    const isCleanPath = lossProbability === 0 && burstEnterProbability === 0;
    if (
      ++state.unacked >= (state.flow.ackEvery ?? askedThreshold(state)) ||
      (isGap && (isCleanPath || state.unacked >= 2))
    ) {
      sendAck(state, now);
    } else if (state.ackTimer === Infinity) {
      state.ackTimer = now + MAX_ACK_DELAY_US;
      wake(state.ackTimer, state, "ack-due");
    }
  };

  const packets = {
    handleDelivery: (_datagram: Uint8Array, _ecn: number, sent: Sent, atUs: number): void =>
      takePacket(sent, atUs),
  };
  const acks = {
    handleDelivery: (_datagram: Uint8Array, _ecn: number, ack: Ack, atUs: number): void => {
      const { ackCompressionUs } = path;
      if (ackCompressionUs === undefined) takeAck(ack, atUs);
      else wake(Math.ceil(atUs / ackCompressionUs) * ackCompressionUs, ack.state, "ack", ack);
    },
  };

  while (!states.every((state) => state.done)) {
    const wakeUs = wakes.peek()?.atUs ?? Infinity;
    const dataUs = forward.nextDeliveryUs();
    const ackUs = back.nextDeliveryUs();
    const now = Math.min(wakeUs, dataUs, ackUs);
    if (now > durationUs) break;
    if (dataUs === now) forward.takeDelivered(now, packets);
    else if (ackUs === now) back.takeDelivered(now, acks);
    else {
      const due = wakes.pop();
      if (due === undefined) break;
      const { state, kind, ack } = due;
      if (kind === "ack-due") {
        if (state.ackTimer <= now) sendAck(state, now);
      } else if (ack !== undefined) takeAck(ack, now);
      else {
        if (now >= state.wakeAt) state.wakeAt = 0;
        drive(state, now);
      }
    }
  }
  for (const state of states) {
    const { statistics } = state.recovery;
    state.result.sentBytes = statistics.bytesSent;
    state.result.packetsSent = statistics.packetsSent;
    state.result.lostBytes = statistics.bytesLost;
    state.result.spuriousPackets = statistics.packetsSpurious;
    state.result.probeTimeouts = statistics.probeTimeouts;
    state.result.queueDelayUs = state.queueSum.map((sum, i) => sum / state.queueCount[i]);
  }
  return states.map((state) => state.result);
}

/** Packets between acknowledgements, as a sender asks its receiver. */
function askedThreshold({ recovery, size }: FlowState): number {
  return ackThreshold(recovery.bytesInFlight / size, acksPerRound(recovery.smoothedRttUs));
}
