/** A group on one socket: dials its receivers, runs a lane for each, and tells how they end. */
import { performance } from "node:perf_hooks";
import { ERRORS, GodwitError } from "../base/errors.ts";
import { printable } from "../files/printable.ts";
import { Group, type GroupAction } from "../group/group.ts";
import { GROUP_RECEIVERS, MAX_LANES, quorumOf, RETRIES } from "../group/policy.ts";
import { RelayCoordinator } from "../group/relay-coordinator.ts";
import { SharedSource } from "../group/shared-source.ts";
import { groupVerdict, isComplete } from "../group/verdict.ts";
import { monotonicNowUs } from "../node/clock.ts";
import { loadBlake3, type Blake3 } from "../node/hash.ts";
import type { Connection } from "../transport/connection.ts";
import type { ClientSession } from "../transfer/client-session.ts";
import type { TransferOutcome } from "../transfer/tally.ts";
import { dial, openDialler, type Dialler } from "./dial.ts";
import type { EventStream } from "./event-stream.ts";
import type {
  GroupUpdate,
  ReceiverResult,
  RelayCounts,
  SendToManyOptions,
  SendToManyResult,
} from "./group-transfer.ts";
import { PathHistory } from "./path-history.ts";
import { pathReport, type PathReport } from "./path-report.ts";
import { receiptHost, receiptOf, type Receipt } from "./receipt.ts";
import { engineOptions } from "./send.ts";
import { sourceOf } from "./sources.ts";
import { parseTarget, type Target } from "./target.ts";
import { asGodwitError } from "./transfer.ts";

/** Times a second that the whole is told about. */
const REPORTS_PER_SECOND = 5;

/** One receiver's part of the host: what is dialled or running for it. */
interface Lane {
  readonly target: Target;
  readonly text: string;
  fingerprint: string;
  dialling: AbortController | undefined;
  session: ClientSession | undefined;
  connection: Connection | undefined;
  path: PathReport | undefined;
  receipt: Receipt | undefined;
  endedAtUs: number;
  isTold: boolean;
}

/** Runs one group on one socket. */
export class Fleet {
  private readonly options: SendToManyOptions;
  private readonly events: EventStream<GroupUpdate>;
  private readonly paths: readonly string[];
  private readonly lanes: readonly Lane[];
  private readonly startedUs = monotonicNowUs();
  private relay: RelayCoordinator | undefined;
  private toldEnds = 0;
  private settle: () => void = () => undefined;

  /** @throws GodwitError USAGE for receivers or options that do not go together. */
  constructor(
    source: string | readonly string[],
    options: SendToManyOptions,
    events: EventStream<GroupUpdate>,
  ) {
    this.options = options;
    this.events = events;
    this.paths = typeof source === "string" ? [source] : source;
    if (this.paths.length === 0) {
      throw new GodwitError("USAGE", "nothing to send: name at least one file or directory");
    }
    const lanes = new Map<string, Lane>();
    for (const text of options.to) {
      const target = parseTarget(text);
      lanes.set(`${target.address}/${target.path.replace(/\/+$/, "")}`, {
        target,
        text,
        fingerprint: "",
        dialling: undefined,
        session: undefined,
        connection: undefined,
        path: undefined,
        receipt: undefined,
        endedAtUs: 0,
        isTold: false,
      });
    }
    this.lanes = [...lanes.values()];
    const count = this.lanes.length;
    if (count === 0) throw new GodwitError("USAGE", "no receivers: name at least one");
    if (count > GROUP_RECEIVERS) {
      throw new GodwitError(
        "USAGE",
        `${count} receivers are more than ${GROUP_RECEIVERS}; send in several runs`,
      );
    }
    if (options.code !== undefined && count > 1) {
      throw new GodwitError(
        "USAGE",
        "a pairing code belongs to one receiver: send to each alone with its code first, then to all without",
      );
    }
    if (options.pin !== undefined && count > 1) {
      throw new GodwitError(
        "USAGE",
        "a pinned key belongs to one receiver; trust many with godwit peers trust, or accept new ones",
      );
    }
    if (options.relay === true && options.sparse === true) {
      throw new GodwitError(
        "USAGE",
        "holes are not exchanged between receivers; leave out either sparse or relay",
      );
    }
  }

  /** Runs the group to its end. @throws GodwitError when nothing could be begun. */
  async run(): Promise<SendToManyResult> {
    const { options, lanes } = this;
    const maxLanes = Math.min(options.maxLanes ?? MAX_LANES, lanes.length);
    const quorum = options.quorum === undefined ? undefined : quorumOf(options.quorum, lanes.length);
    const sources = this.paths.map((path) => sourceOf(path));
    const hash = await loadBlake3();
    const rules = options.rules ?? [];
    const sendsLinks = options.links ?? false;
    const dialler = await openDialler(options, (error) => {
      group.cancel("INTERNAL", error.message, monotonicNowUs());
      this.settleIfOver(group);
    });
    const relay =
      options.relay === true ? new RelayCoordinator(lanes.length, dialler.crypto.randomBytes) : undefined;
    this.relay = relay;
    const source = new SharedSource({ hash, sources, sendsLinks, rules, laneCount: maxLanes });
    const group = new Group(
      {
        source,
        requests: lanes.map(({ target }) => ({
          mode: "push",
          sources,
          destination: target.path.replace(/\/+$/, ""),
          options: { ...engineOptions(options), relay: relay !== undefined },
          rules,
        })),
        policy: {
          maxLanes,
          retries: options.retries ?? RETRIES,
          quorum,
          deadlineUs: options.deadlineUs,
          minRateBytesPerSecond: options.minRateBytesPerSecond,
          laggards: options.laggards ?? "demote",
        },
        relay,
      },
      this.startedUs,
    );
    const abort = (): void => {
      group.cancel("INTERRUPTED", "interrupted; run the same command to resume", monotonicNowUs());
      dialler.host.wake();
    };
    options.signal?.addEventListener("abort", abort, { once: true });
    const timer = setInterval(() => this.tellProgress(group, source), 1_000 / REPORTS_PER_SECOND);
    try {
      const isOver = new Promise<void>((resolve) => {
        this.settle = resolve;
      });
      dialler.host.carry({
        takeDiskRequests: () => source.takeDiskRequests(),
        get hasDiskRequests() {
          return source.hasDiskRequests;
        },
        handleDiskResult: (id, result) => source.handleDiskResult(id, result),
        nextTimeoutUs: () => group.nextTimeoutUs(),
        // They send what it reads.
        concernsSessions: true,
        handleTurn: (nowUs) => {
          const { failure } = source;
          if (failure !== undefined) group.cancel(failure.code, failure.text, nowUs, failure.peerText);
          if ((group.nextTimeoutUs() ?? Infinity) <= nowUs) group.handleTimeout(nowUs);
          for (const action of group.takeActions()) this.perform(action, group, dialler, hash);
          if (relay?.takeNews() === true) dialler.host.wake();
          this.settleIfOver(group);
        },
      });
      if (options.signal?.aborted === true) abort();
      await isOver;
      await Promise.all(
        lanes.flatMap(({ connection }) => (connection === undefined ? [] : dialler.host.closing(connection))),
      );
      this.tellProgress(group, source);
      return this.result(group, source, quorum);
    } finally {
      clearInterval(timer);
      options.signal?.removeEventListener("abort", abort);
      dialler.host.close();
    }
  }

  private perform(action: GroupAction, group: Group, dialler: Dialler, hash: Blake3): void {
    const { receiver } = action;
    const lane = this.lanes[receiver];
    if (action.type === "stop") {
      const { code, text, peerText } = action;
      // A connection that is there before its session is ended with these words: the receiver hears them.
      if (lane.session === undefined) lane.dialling?.abort(new GodwitError(code, peerText));
      else lane.session.cancel(code, text, monotonicNowUs(), peerText);
      dialler.host.wake();
      return;
    }
    this.open(receiver, lane, group, dialler, hash)
      .catch((error: unknown) => {
        const { code, message } = asGodwitError(error);
        group.handleUnreached(receiver, code, message, monotonicNowUs());
        this.tellWaiting(receiver, group, message);
      })
      .finally(() => {
        this.settleIfOver(group);
        dialler.host.wake();
      });
  }

  /** Dials, and runs a lane to its end. Rejects when the receiver was not reached. */
  private async open(
    receiver: number,
    lane: Lane,
    group: Group,
    dialler: Dialler,
    hash: Blake3,
  ): Promise<void> {
    const { options, events } = this;
    const { host } = dialler;
    const controller = new AbortController();
    lane.dialling = controller;
    this.tellState(receiver, group, "dialling", "");
    const startedUs = monotonicNowUs();
    const idleBefore = performance.eventLoopUtilization();
    const history = new PathHistory();
    const { connection, fingerprint } = await dial(
      lane.target,
      { ...options, signal: controller.signal },
      (event) => {
        history.add(event, monotonicNowUs() - startedUs);
        if (lane.session !== undefined) group.handleEvent(receiver, event, monotonicNowUs());
        events.emit({ type: "receiver-event", receiver, target: lane.text, event });
      },
      dialler,
    );
    lane.dialling = undefined;
    lane.fingerprint = fingerprint;
    lane.connection = connection;
    const session = group.openLane(
      receiver,
      {
        hash,
        peerKey: connection.peerIdentity ?? new Uint8Array(32),
        peerFingerprint: fingerprint,
        peerAddress: lane.target.address,
        umask: process.umask(),
        patienceUs: options.patienceUs,
        receipts: receiptHost(dialler.identity, dialler.crypto, options.receipt === true),
      },
      connection.peerAddress,
      monotonicNowUs(),
    );
    lane.session = session;
    // An end that was asked for between the connection and the session.
    if (controller.signal.aborted) {
      const reason = asGodwitError(controller.signal.reason);
      session.cancel(reason.code, reason.message, monotonicNowUs());
    }
    this.tellState(receiver, group, "moving", "");
    const outcome = await host.run(connection, session, true);
    const isCapped = options.rateBytesPerSecond !== undefined;
    lane.path = pathReport(connection.statistics(monotonicNowUs()), {
      isCapped,
      receiverBacklogBytes: session.receiverBacklogBytes,
      busyFraction: performance.eventLoopUtilization(idleBefore).utilization,
      history: history.samples,
    });
    lane.session = undefined;
    if (options.receipt === true && session.receipt !== undefined)
      lane.receipt = receiptOf(session.receipt, dialler.crypto);
    group.handleOutcome(receiver, outcome, monotonicNowUs());
    this.tellWaiting(receiver, group, outcome.text);
  }

  private tellState(
    receiver: number,
    group: Group,
    state: "dialling" | "moving" | "waiting",
    text: string,
  ): void {
    const { text: target } = this.lanes[receiver];
    const { attempts: attempt } = group.receivers[receiver];
    this.events.emit({ type: "receiver-state-changed", receiver, target, state, attempt, text });
  }

  private tellWaiting(receiver: number, group: Group, text: string): void {
    if (group.receivers[receiver].end === undefined) this.tellState(receiver, group, "waiting", text);
  }

  private settleIfOver(group: Group): void {
    this.tellEnds(group, monotonicNowUs());
    if (group.isOver) this.settle();
  }

  private tellEnds(group: Group, nowUs: number): void {
    if (group.endedReceivers === this.toldEnds) return;
    this.toldEnds = group.endedReceivers;
    this.lanes.forEach((lane, receiver) => {
      if (lane.isTold || group.receivers[receiver].end === undefined) return;
      lane.isTold = true;
      lane.endedAtUs = nowUs;
      const result = this.receiverResult(receiver, group);
      this.events.emit({ type: "receiver-ended", receiver, target: lane.text, result });
    });
  }

  private tellProgress(group: Group, source: SharedSource): void {
    if (!this.events.hasReaders) return;
    let verifiedBytes = 0;
    let resumedBytes = 0;
    let movingReceivers = 0;
    let endedReceivers = 0;
    let each: number | undefined;
    for (const state of group.receivers) {
      verifiedBytes += state.verifiedBytes;
      resumedBytes += state.resumedBytes;
      if (state.phase === "moving") movingReceivers++;
      if (state.phase === "ended") endedReceivers++;
      each ??= state.totalBytes;
    }
    this.events.emit({
      type: "group-progress",
      receivers: group.receivers.length,
      completeReceivers: group.completeReceivers,
      endedReceivers,
      movingReceivers,
      verifiedBytes,
      totalBytes: each === undefined ? undefined : each * group.receivers.length,
      resumedBytes,
      sourceReadBytes: source.supply.readBytes,
      sourceRereadBytes: source.supply.rereadBytes,
      relay: this.relayCounts(),
    });
  }

  private relayCounts(): RelayCounts | undefined {
    const { relay } = this;
    if (relay === undefined) return undefined;
    const { dealtBytes: sentOnceBytes, repeatedBytes: sentAgainBytes } = relay.dealer;
    return { sentOnceBytes, sentAgainBytes, relayedBytes: relay.relayedBytes };
  }

  private receiverResult(receiver: number, group: Group): ReceiverResult {
    const lane = this.lanes[receiver];
    const { end, attempts } = group.receivers[receiver];
    const { verdict, code, text } = end ?? { verdict: "stopped", code: "INTERRUPTED", text: "" };
    const outcome: TransferOutcome | undefined = end?.outcome;
    return {
      target: lane.text,
      address: printable(lane.target.address),
      fingerprint: lane.fingerprint,
      verdict,
      exit: code === undefined ? 0 : ERRORS[code].exit,
      error: code === undefined ? undefined : { code, text },
      files: outcome?.files ?? 0,
      directories: outcome?.directories ?? 0,
      links: outcome?.links ?? 0,
      unchangedFiles: outcome?.unchangedFiles ?? 0,
      bytes: outcome?.bytes ?? 0,
      resumedBytes: outcome?.resumedBytes ?? 0,
      relayedBytes: this.relay?.relayedBytesOf(receiver) ?? 0,
      root: outcome?.root ?? "",
      receipt: lane.receipt,
      failures: outcome?.failures ?? [],
      attempts,
      seconds: (lane.endedAtUs - this.startedUs) / 1e6,
      path: lane.path,
    };
  }

  private result(group: Group, source: SharedSource, quorum: number | undefined): SendToManyResult {
    const { code, text } = groupVerdict(group.ends);
    const { completeReceivers } = group;
    const receivers = this.lanes.map((_, receiver) => this.receiverResult(receiver, group));
    const hasSome = receivers.some(({ verdict }) => isComplete(verdict) || verdict === "partial");
    return {
      result: code === undefined ? "complete" : hasSome ? "partial" : "failed",
      exit: code === undefined ? 0 : ERRORS[code].exit,
      text,
      receivers,
      completeReceivers,
      quorum: quorum === undefined ? undefined : { needed: quorum, isReached: completeReceivers >= quorum },
      sourceReadBytes: source.supply.readBytes,
      sourceRereadBytes: source.supply.rereadBytes,
      relay: this.relayCounts(),
      seconds: (monotonicNowUs() - this.startedUs) / 1e6,
    };
  }
}
