/**
 * A packet-level laboratory for congestion controllers: bulk flows, each with a real `Recovery`, over
 * one bottleneck in virtual time. No packets, no cryptography: numbers only, so that a minute of
 * 100 Mbit/s takes a second.
 *
 * Not modelled: packet contents and header overhead (goodput is UDP payload), competing reverse traffic,
 * queues other than tail drop, receiver limits.
 */
import { RangeSet } from "../base/range-set.ts";
import { SeededRandom } from "../base/random.ts";
import type { CongestionControllerFactory } from "../transport/congestion/controller.ts";
import { Recovery } from "../transport/recovery/recovery.ts";

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
  /** Share of one-way delay that jitter adds or takes (0.5 = plus or minus 50 %); reorders. */
  jitter?: number;
  /** Jitter never changes the order, as queues and radio links keep it. */
  jitterKeepsOrder?: boolean;
  /** Probability that a packet is late by `reorderUs`. */
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

const ARRIVE = 0;
const ACK = 1;
const WAKE = 2;
const MAX_ACK_DELAY_US = 25_000;

class Heap {
  private times: number[] = [];
  private items: number[][] = [];
  private order: number[] = [];
  private counter = 0;
  get size(): number {
    return this.times.length;
  }
  get nextTime(): number {
    return this.times[0];
  }
  push(time: number, item: number[]): void {
    const { times, items, order } = this;
    let index = times.length;
    const seq = this.counter++;
    times.push(time);
    items.push(item);
    order.push(seq);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (times[parent] < time || (times[parent] === time && order[parent] < seq)) break;
      times[index] = times[parent];
      items[index] = items[parent];
      order[index] = order[parent];
      index = parent;
    }
    times[index] = time;
    items[index] = item;
    order[index] = seq;
  }
  pop(): number[] {
    const { times, items, order } = this;
    const top = items[0];
    const time = times.pop()!;
    const item = items.pop()!;
    const seq = order.pop()!;
    const size = times.length;
    if (size > 0) {
      let index = 0;
      for (;;) {
        let child = 2 * index + 1;
        if (child >= size) break;
        if (
          child + 1 < size &&
          (times[child + 1] < times[child] ||
            (times[child + 1] === times[child] && order[child + 1] < order[child]))
        )
          child++;
        if (times[child] > time || (times[child] === time && order[child] > seq)) break;
        times[index] = times[child];
        items[index] = items[child];
        order[index] = order[child];
        index = child;
      }
      times[index] = time;
      items[index] = item;
      order[index] = seq;
    }
    return top;
  }
}

/** As a sender asks its receiver: eight acknowledgements a round trip, of 2 to 64 packets each. */
function ackThreshold(state: FlowState): number {
  const perRound = state.recovery.bytesInFlight / state.size;
  return Math.min(64, Math.max(2, Math.floor(perRound / 8)));
}

interface FlowState {
  flow: LabFlow;
  recovery: Recovery;
  next: number;
  wakeAt: number;
  received: RangeSet;
  unacked: number;
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
export function runLab(
  path: LabPath,
  flows: LabFlow[],
  durationUs: number,
  seed = 1,
  trace?: (nowUs: number, flows: Recovery[], queueBytes: number) => void,
  traceIntervalUs = 100_000,
): LabResult[] {
  const heap = new Heap();
  const random = new SeededRandom(seed, "lab");
  let rate = path.bitsPerSecond / 8e6; // bytes per microsecond
  let busyUntil = 0;
  let lossState = false;
  let loss = path.loss ?? 0;
  const lossChanges = [...(path.lossChanges ?? [])];
  const burst = path.burst ?? 1;
  const changes = [...(path.rateChanges ?? [])];
  const oneWayUs = path.rttUs / 2;
  const acks: number[][] = [];
  const free: number[] = [];
  let nextTrace = 0;

  const isLost = (probability: number): boolean => {
    if (probability === 0) return false;
    if (burst <= 1) return random.float() < probability;
    // Gilbert: leave the bad state with 1/burst, enter so that the mean is `probability`.
    lossState = lossState
      ? random.float() >= 1 / burst
      : random.float() < probability / (burst * (1 - probability));
    return lossState;
  };
  const lastArrivalUs = [0, 0];
  /** When a packet that leaves at `atUs` arrives; direction 0 is data, 1 acknowledgements. */
  const arrivalUs = (atUs: number, direction: 0 | 1): number => {
    let us = oneWayUs;
    if (path.jitter) us *= 1 + path.jitter * (2 * random.float() - 1);
    let arrivesUs = atUs + us;
    if (path.jitterKeepsOrder === true) {
      arrivesUs = Math.max(arrivesUs, lastArrivalUs[direction]);
      lastArrivalUs[direction] = arrivesUs;
    }
    if (path.reorder && random.float() < path.reorder) arrivesUs += path.reorderUs ?? oneWayUs / 2;
    return arrivesUs;
  };

  const states: FlowState[] = flows.map((flow, index) => {
    const size = flow.datagramBytes ?? 1_452;
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
    heap.push(startUs, [WAKE, index, 0]);
    return {
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
  });

  const transmit = (state: FlowState, index: number, now: number): void => {
    const number = state.next++;
    state.recovery.handleSent(number, state.size, now, true, false);
    while (changes.length > 0 && changes[0].atUs <= now) {
      const old = rate;
      rate = changes.shift()!.bitsPerSecond / 8e6;
      if (busyUntil > now && rate > 0) busyUntil = now + ((busyUntil - now) * old) / rate;
    }
    while (lossChanges.length > 0 && lossChanges[0].atUs <= now) loss = lossChanges.shift()!.loss;
    if (rate === 0) return;
    const backlog = Math.max(0, busyUntil - now) * rate;
    if (backlog + state.size > path.queueBytes + state.size) {
      state.result.queueDrops++;
      return;
    }
    busyUntil = Math.max(busyUntil, now) + state.size / rate;
    const second = Math.floor(now / 1e6);
    state.queueSum[second] = (state.queueSum[second] ?? 0) + (busyUntil - now - state.size / rate);
    state.queueCount[second] = (state.queueCount[second] ?? 0) + 1;
    if (isLost(loss)) return;
    heap.push(arrivalUs(busyUntil, 0), [ARRIVE, index, number]);
    if (path.duplicate && random.float() < path.duplicate) {
      heap.push(arrivalUs(busyUntil, 0), [ARRIVE, index, number]);
    }
  };

  const sendAck = (state: FlowState, index: number, now: number): void => {
    state.unacked = 0;
    state.ackTimer = Infinity;
    if (path.ackLoss !== undefined && random.float() < path.ackLoss) return;
    const { received } = state;
    const count = Math.min(received.rangeCount, 64 - Math.min(state.late.length, 16));
    const slot = free.pop() ?? acks.length;
    const ack: number[] = [now - state.largestAt];
    for (let i = 0; i < count; i++) {
      const at = received.rangeCount - 1 - i;
      ack.push(received.startAt(at), received.endAt(at) - 1);
    }
    // As the receiver does: old ranges that grew are told, too.
    const lowest = ack[ack.length - 2];
    state.late.sort((a, b) => b - a);
    for (const number of state.late) {
      if (number < lowest && number < ack[ack.length - 2] && ack.length < 2 * 64 + 1)
        ack.push(number, number);
    }
    state.late.length = 0;
    acks[slot] = ack;
    let at = arrivalUs(now, 1);
    if (path.ackCompressionUs) at = Math.ceil(at / path.ackCompressionUs) * path.ackCompressionUs;
    heap.push(at, [ACK, index, slot]);
    while (received.rangeCount > 4_096) received.dropLowest();
  };

  const drive = (state: FlowState, index: number, now: number): void => {
    const { recovery } = state;
    if (state.done) return;
    const due = recovery.nextTimeoutUs();
    if (due !== undefined && due <= now) recovery.handleTimeout(now, handler);
    for (let probes = recovery.takeProbeCount(); probes > 0; probes--) transmit(state, index, now);
    let sendAt = Infinity;
    const { bytes } = state.flow;
    while (recovery.canSend(state.size)) {
      if (bytes !== undefined && recovery.statistics.bytesAcked + recovery.bytesInFlight >= bytes) {
        recovery.handleAppLimited(now);
        break;
      }
      sendAt = state.flow.isUnpaced ? now : recovery.nextSendTimeUs(now);
      if (sendAt > now) break;
      transmit(state, index, now);
      sendAt = Infinity;
    }
    const wake = Math.max(now, Math.min(sendAt, recovery.nextTimeoutUs() ?? Infinity));
    if (wake < Infinity && (state.wakeAt <= now || wake < state.wakeAt)) {
      state.wakeAt = wake;
      heap.push(Math.max(wake, now + 1), [WAKE, index, 0]);
    }
  };

  const handler = {
    handlePacketAcked(): void {},
    handlePacketLost(): void {},
    handleSpuriousLoss(): void {},
  };

  while (heap.size > 0 && heap.nextTime <= durationUs) {
    const now = heap.nextTime;
    if (trace !== undefined && now >= nextTrace) {
      trace(
        now,
        states.map((s) => s.recovery),
        Math.max(0, busyUntil - now) * rate,
      );
      nextTrace += traceIntervalUs;
    }
    const event = heap.pop();
    const index = event[1];
    const state = states[index];
    if (event[0] === WAKE) {
      if (event[2] === 1) {
        if (state.ackTimer <= now) sendAck(state, index, now);
      } else {
        if (now >= state.wakeAt) state.wakeAt = 0;
        drive(state, index, now);
      }
    } else if (event[0] === ARRIVE) {
      const number = event[2];
      const { received } = state;
      const wasLargest = number >= received.end;
      const isGap = number > received.end;
      if (received.add(number, number + 1) === 1) {
        state.result.deliveredBytes += state.size;
        const second = Math.floor(now / 1e6);
        state.result.perSecond[second] = (state.result.perSecond[second] ?? 0) + state.size;
        if (
          state.flow.bytes !== undefined &&
          state.result.deliveredBytes >= state.flow.bytes &&
          !state.done
        ) {
          state.done = true;
          state.result.finishedAtUs = now;
          if (states.every((s) => s.done)) break;
        }
      }
      if (wasLargest) state.largestAt = now;
      else state.late.push(number);
      if (
        ++state.unacked >= (state.flow.ackEvery ?? ackThreshold(state)) ||
        (isGap && (loss === 0 || state.unacked >= 2))
      ) {
        sendAck(state, index, now);
      } else if (state.ackTimer === Infinity) {
        state.ackTimer = now + MAX_ACK_DELAY_US;
        heap.push(state.ackTimer, [WAKE, index, 1]);
      }
    } else {
      const slot = event[2];
      const ack = acks[slot];
      free.push(slot);
      const ranges = ack.slice(1);
      state.recovery.handleAck(ranges[1], ack[0], ranges, ranges.length / 2, now, handler);
      drive(state, index, now);
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
