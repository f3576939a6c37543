/**
 * One to many, as a state machine: which receivers have a lane, which wait, what each one ended with.
 * A lane is one connection with one sender session, its own window and rate; all lanes take entries and
 * chunks from one `SharedSource`.
 *
 * The host's loop: carry out `takeActions`, report what came of each, hand lanes' events in, and call
 * `handleTimeout` when `nextTimeoutUs` says so. When `isOver`, every receiver has its end.
 */
import { assert } from "../base/assert.ts";
import type { ErrorCode } from "../base/errors.ts";
import { ERRORS } from "../base/errors.ts";
import type { GodwitEvent } from "../events/event.ts";
import type { ClientRequest } from "../transfer/client-session.ts";
import { ClientSession } from "../transfer/client-session.ts";
import type { SessionHost } from "../transfer/session.ts";
import type { TransferOutcome } from "../transfer/tally.ts";
import type { GroupPolicy } from "./policy.ts";
import type { RelayCoordinator } from "./relay-coordinator.ts";
import { RETRY_PAUSE_MAX_US, RETRY_PAUSE_US } from "./policy.ts";
import { compareWaiting, ReceiverState } from "./receiver-state.ts";
import type { SharedSource } from "./shared-source.ts";
import type { ReceiverEnd, StopCause } from "./verdict.ts";
import { isComplete, verdictOf } from "./verdict.ts";

/** How often lanes are judged when there is a least rate, in microseconds. */
const JUDGE_US = 1_000_000;

/** What the host is to do. */
export type GroupAction =
  /** Connect to a receiver: answer with `openLane` or `handleUnreached`. */
  | { readonly type: "dial"; readonly receiver: number }
  /** Give a dialling attempt up, or cancel the lane's session, with this code and text; the receiver is told `peerText`. */
  | {
      readonly type: "stop";
      readonly receiver: number;
      readonly code: ErrorCode;
      readonly text: string;
      readonly peerText: string;
    };

/** What a group is made of. */
export interface GroupSetup {
  readonly source: SharedSource;
  /** What each receiver's session asks; its destination. */
  readonly requests: readonly (ClientRequest & { readonly mode: "push" })[];
  readonly policy: GroupPolicy;
  /** Lets receivers serve each other; absent: each gets all from here. */
  readonly relay?: RelayCoordinator | undefined;
}

/** A transfer to many receivers. */
export class Group {
  private readonly source: SharedSource;
  private readonly setup: GroupSetup;
  private readonly states: readonly ReceiverState[];
  private readonly deadlineAtUs: number;
  private actions: GroupAction[] = [];
  private activeCount = 0;
  private completeCount = 0;
  private endedCount = 0;
  private judgeAtUs = 0;
  /** Why no more lanes are opened. */
  private closing: { readonly cause: StopCause; readonly code: ErrorCode; readonly text: string } | undefined;

  constructor(setup: GroupSetup, nowUs: number) {
    this.setup = setup;
    this.source = setup.source;
    this.states = setup.requests.map((_, index) => new ReceiverState(index));
    const { deadlineUs } = setup.policy;
    this.deadlineAtUs = deadlineUs === undefined ? Number.POSITIVE_INFINITY : nowUs + deadlineUs;
    this.judgeAtUs = nowUs + JUDGE_US;
    this.advance(nowUs);
  }

  /** The receivers in the order they were named. */
  get receivers(): readonly Readonly<ReceiverState>[] {
    return this.states;
  }

  /** Whether every receiver has its end. */
  get isOver(): boolean {
    return this.endedCount === this.states.length;
  }

  /** Receivers that have their end. */
  get endedReceivers(): number {
    return this.endedCount;
  }

  /** Receivers that have everything. */
  get completeReceivers(): number {
    return this.completeCount;
  }

  /** The ends of all receivers, once the group is over. */
  get ends(): readonly ReceiverEnd[] {
    return this.states.map(({ end }) => {
      assert(end !== undefined, "a group that is over has all its ends");
      return end;
    });
  }

  /** What the host shall do now, each once. */
  takeActions(): GroupAction[] {
    if (this.actions.length === 0) return [];
    const taken = this.actions;
    this.actions = [];
    return taken;
  }

  /** When `handleTimeout` wants to be called; `undefined` for not at all. */
  nextTimeoutUs(): number | undefined {
    if (this.isOver) return undefined;
    let atUs = this.closing === undefined ? this.deadlineAtUs : Number.POSITIVE_INFINITY;
    if (this.setup.policy.minRateBytesPerSecond !== undefined && this.activeCount > 0)
      atUs = Math.min(atUs, this.judgeAtUs);
    if (this.activeCount < this.setup.policy.maxLanes)
      for (const state of this.states) if (state.phase === "waiting") atUs = Math.min(atUs, state.readyAtUs);
    return atUs === Number.POSITIVE_INFINITY ? undefined : atUs;
  }

  /** Time has passed: retries, the deadline, lanes that are too slow. */
  handleTimeout(nowUs: number): void {
    if (nowUs >= this.deadlineAtUs)
      this.closeAll(
        "deadline",
        "NO_PROGRESS",
        "not done at the deadline; run the same command to resume",
        nowUs,
      );
    if (nowUs >= this.judgeAtUs) {
      this.judgeAtUs = nowUs + JUDGE_US;
      this.judge(nowUs);
    }
    this.advance(nowUs);
  }

  /**
   * The dialled receiver is connected and proved itself: the session to run on its connection.
   *
   * @param address - Where it was reached, six words.
   */
  openLane(receiver: number, host: SessionHost, address: Int32Array, nowUs: number): ClientSession {
    const state = this.states[receiver];
    assert(state.phase === "dialling", "a lane is opened for a receiver that was dialled");
    state.phase = "moving";
    state.wasConnected = true;
    state.verifiedBefore = state.verifiedBytes;
    state.beginRate(nowUs);
    const { peerKey: key, peerFingerprint: fingerprint } = host;
    const laneRelay = this.setup.relay?.openLane({ receiver, key, fingerprint, address });
    const request = this.setup.requests[receiver];
    return new ClientSession({ ...host, shared: this.source, laneRelay }, request, nowUs);
  }

  /** The dialled receiver could not be reached, or did not prove itself. */
  handleUnreached(receiver: number, code: ErrorCode, text: string, nowUs: number): void {
    this.handleEnd(this.states[receiver], code, text, undefined, nowUs);
  }

  /** A lane's session told something. */
  handleEvent(receiver: number, event: GodwitEvent, nowUs: number): void {
    if (event.type !== "progress") return;
    const state = this.states[receiver];
    state.verifiedBytes = Math.max(state.verifiedBytes, event.verifiedBytes);
    state.resumedBytes = event.resumedBytes;
    state.totalBytes = event.totalBytes ?? state.totalBytes;
    state.sample(nowUs);
  }

  /** A lane's session has its outcome. */
  handleOutcome(receiver: number, outcome: TransferOutcome, nowUs: number): void {
    this.handleEnd(this.states[receiver], outcome.code, outcome.text, outcome, nowUs);
  }

  /**
   * Ends everything: the user interrupted, or the source cannot be sent.
   *
   * @param peerText - What receivers are told instead, where `text` names places of this machine.
   */
  cancel(code: ErrorCode, text: string, nowUs: number, peerText = text): void {
    this.closeAll("cancelled", code, text, nowUs, peerText);
    this.advance(nowUs);
  }

  private handleEnd(
    state: ReceiverState,
    code: ErrorCode | undefined,
    text: string,
    outcome: TransferOutcome | undefined,
    nowUs: number,
  ): void {
    assert(state.isActive, "a lane ends once");
    const stopped = state.stopCause;
    if (code !== undefined && stopped !== undefined && this.closing !== undefined)
      ({ code, text } = this.closing);
    state.phase = "waiting";
    state.stopCause = undefined;
    this.activeCount--;
    if (state.verifiedBytes > state.verifiedBefore) state.failures = 0;
    if (code !== undefined && stopped === "demoted") {
      state.isDemoted = true;
      state.readyAtUs = nowUs;
    } else if (code !== undefined && this.mayRetry(state, code, stopped)) {
      state.readyAtUs = nowUs + Math.min(RETRY_PAUSE_US * 2 ** state.failures, RETRY_PAUSE_MAX_US);
      state.failures++;
    } else {
      const verdict = verdictOf(code, outcome?.resumedBytes ?? 0, state.wasConnected, stopped);
      this.finish(state, { verdict, code, text: code === undefined ? "" : text, outcome });
    }
    this.advance(nowUs);
  }

  private mayRetry(state: ReceiverState, code: ErrorCode, stopped: StopCause | undefined): boolean {
    if (this.closing !== undefined || stopped !== undefined || code === "PARTIAL") return false;
    const { retryable, exit } = ERRORS[code];
    // A source that changed is the same for every attempt of this run.
    return retryable && exit !== 8 && state.failures < this.setup.policy.retries;
  }

  private finish(state: ReceiverState, end: ReceiverEnd): void {
    state.phase = "ended";
    state.end = end;
    this.endedCount++;
    if (isComplete(end.verdict)) this.completeCount++;
  }

  /** Ends lanes and receivers that wait; the first reason counts. */
  private closeAll(cause: StopCause, code: ErrorCode, text: string, nowUs: number, peerText = text): void {
    if (this.closing !== undefined && (cause !== "cancelled" || this.closing.cause === cause)) return;
    this.closing = { cause, code, text };
    for (const state of this.states) if (state.isActive) this.stop(state, cause, code, text, peerText);
    this.advance(nowUs);
  }

  private stop(state: ReceiverState, cause: StopCause, code: ErrorCode, text: string, peerText = text): void {
    if (state.stopCause !== undefined && cause !== "cancelled") return;
    state.stopCause = cause;
    this.actions.push({ type: "stop", receiver: state.index, code, text, peerText });
  }

  /** Gives free lanes to those who wait, or ends those who need not wait any more. */
  private advance(nowUs: number): void {
    const { maxLanes, quorum, deadlineUs } = this.setup.policy;
    if (
      quorum !== undefined &&
      this.completeCount >= quorum &&
      deadlineUs === undefined &&
      this.closing === undefined &&
      !this.isOver
    ) {
      const text = `ended because ${quorum} receivers are complete, which is enough`;
      this.closeAll("quorum", "INTERRUPTED", text, nowUs);
      return;
    }
    const { closing } = this;
    if (closing !== undefined) {
      const { cause, code, text } = closing;
      for (const state of this.states) {
        if (state.phase !== "waiting") continue;
        const verdict = verdictOf(code, 0, state.wasConnected, cause);
        this.finish(state, { verdict, code, text, outcome: undefined });
      }
      return;
    }
    if (this.activeCount >= maxLanes) return;
    const ready = this.states.filter(({ phase, readyAtUs }) => phase === "waiting" && readyAtUs <= nowUs);
    ready.sort(compareWaiting);
    for (const state of ready.slice(0, maxLanes - this.activeCount)) {
      state.phase = "dialling";
      state.attempts++;
      this.activeCount++;
      this.actions.push({ type: "dial", receiver: state.index });
    }
  }

  /** Drops or demotes lanes whose rate is below the least. */
  private judge(nowUs: number): void {
    const { minRateBytesPerSecond, laggards } = this.setup.policy;
    if (minRateBytesPerSecond === undefined) return;
    for (const state of this.states) {
      if (state.phase !== "moving" || state.stopCause !== undefined || state.remainingBytes <= 0) continue;
      const rate = state.rate(nowUs);
      if (rate === undefined || rate >= minRateBytesPerSecond) continue;
      if (laggards === "drop")
        this.stop(
          state,
          "too-slow",
          "NO_PROGRESS",
          `slower than the least rate; run the same command to resume`,
        );
      else if (
        this.states.some((other) => other.phase === "waiting" && !other.isDemoted && other.readyAtUs <= nowUs)
      )
        this.stop(state, "demoted", "NO_PROGRESS", "others go first");
    }
  }
}
