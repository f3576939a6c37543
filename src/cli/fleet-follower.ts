/** Shows a transfer to many while it runs, and its table at the end. */
import { MultiBar, type SingleBar } from "cli-progress";
import type { GroupTransfer, GroupUpdate, ReceiverResult, SendToManyResult } from "../api/group-transfer.ts";
import { formatBytes, formatDuration } from "../base/units.ts";
import { jsonEvent } from "./follow.ts";
import { shown, type Output } from "./output.ts";
import {
  boardLines,
  tableRow,
  terminalRows,
  totalLine,
  type BoardLane,
  type BoardTotal,
} from "./render/fleet-board.ts";
import { RateMeter } from "./render/rate-meter.ts";

/** Lines of lanes on the board; more are folded into one. */
const BOARD_ROWS = 16;

/** Lines of a terminal that the board leaves to what stood there before. */
const ROWS_LEFT = 4;

/** Redraws per second in a terminal. */
const REDRAWS_PER_SECOND = 5;

/** Seconds between lines where there is no terminal. */
const PLAIN_LINE_SECONDS = 10;

/** What is said when a receiver asks another one no more. */
const DROPPED = {
  lied: "another receiver gave it wrong data, which was thrown away; it asks that one no more",
  stalled: "another receiver does not answer; it asks that one no more",
  lost: "it lost another receiver",
  unreachable: "it cannot reach another receiver",
} as const;

/** Keeps the board. */
class Board {
  private readonly lanes = new Map<number, BoardLane & { readonly meter: RateMeter }>();
  private readonly meter = new RateMeter();
  private readonly output: Output;
  private multi: MultiBar | undefined;
  private bars: SingleBar[] = [];
  private lastPlainAt = performance.now();

  constructor(output: Output) {
    this.output = output;
  }

  handle(update: GroupUpdate): void {
    const { output, lanes } = this;
    if (update.type === "receiver-state-changed") {
      const { target, state } = update;
      if (state === "waiting") {
        output.say(`${shown(target)}: ${shown(update.text)}; trying again`);
        lanes.delete(update.receiver);
      } else {
        const unknown = {
          verifiedBytes: 0,
          totalBytes: undefined,
          rateBytesPerSecond: 0,
          lossFraction: undefined,
        };
        const before = lanes.get(update.receiver) ?? { ...unknown, meter: new RateMeter() };
        lanes.set(update.receiver, { ...before, target, state });
      }
    } else if (update.type === "receiver-ended") {
      lanes.delete(update.receiver);
      const { result } = update;
      // Without a terminal the table at the end says it once.
      if (output.hasTerminal) output.say(rowOf(result));
    } else if (update.type === "receiver-event") this.handleEvent(update);
    else this.draw(update);
  }

  end(): void {
    this.multi?.stop();
    this.multi = undefined;
    this.bars = [];
  }

  private handleEvent(update: GroupUpdate & { type: "receiver-event" }): void {
    const { event, receiver, target } = update;
    const { output } = this;
    switch (event.type) {
      case "progress": {
        const lane = this.lanes.get(receiver);
        if (lane === undefined) return;
        const { verifiedBytes, totalBytes, resumedBytes } = event;
        const rateBytesPerSecond = lane.meter.add(verifiedBytes - resumedBytes, performance.now());
        this.lanes.set(receiver, { ...lane, verifiedBytes, totalBytes, rateBytesPerSecond });
        return;
      }
      case "file-failed":
        output.error(`${shown(target)}: ${shown(event.path)}: ${shown(event.text)}`);
        return;
      case "relay-helper-dropped":
        output.say(`${shown(target)}: ${DROPPED[event.reason]} (${event.helper})`);
        return;
      case "path-silent":
        output.say(`${shown(target)}: no answer for ${formatDuration(event.sinceUs)}, trying on`);
        return;
      case "path-returned":
        output.say(`${shown(target)}: the path is back after ${formatDuration(event.afterUs)}`);
        return;
      default:
    }
  }

  private draw(update: GroupUpdate & { type: "group-progress" }): void {
    const { output } = this;
    if (!output.wantsProgress) return;
    const rateBytesPerSecond = this.meter.add(update.verifiedBytes - update.resumedBytes, performance.now());
    const total: BoardTotal = { ...update, rateBytesPerSecond };
    if (!output.hasTerminal) {
      const now = performance.now();
      if (now - this.lastPlainAt < PLAIN_LINE_SECONDS * 1_000) return;
      this.lastPlainAt = now;
      process.stderr.write(`${totalLine(total, 200)}\n`);
      return;
    }
    const columns = (process.stderr.columns ?? 80) - 1;
    const rows = Math.max(1, Math.min(BOARD_ROWS, (process.stderr.rows ?? 24) - ROWS_LEFT));
    const lines = boardLines([...this.lanes.values()], total, rows, columns);
    this.show(lines);
  }

  /** Renews the bars; there are as many as there ever were lines, empty ones last. */
  private show(lines: readonly string[]): void {
    this.multi ??= new MultiBar({
      format: (_options, _params, payload: { line: string }) => payload.line,
      stream: process.stderr,
      fps: REDRAWS_PER_SECOND,
      clearOnComplete: true,
      hideCursor: true,
      gracefulExit: false,
    });
    while (this.bars.length < lines.length) this.bars.push(this.multi.create(1, 0, { line: "" }));
    this.bars.forEach((bar, i) => bar.update(0, { line: lines[i] ?? "" }));
    this.output.divert((line) => {
      // Only the first row of a log is cleared of what stood there.
      for (const row of terminalRows(line, process.stderr.columns ?? 80)) this.multi?.log(`\u001b[K${row}\n`);
    });
  }
}

function rowOf(result: ReceiverResult): string {
  return tableRow({ ...result, text: result.error?.text ?? "" });
}

/** A JSON line for an update: the event of a receiver with the receiver's name, or one of the group's own. */
function groupJsonEvent(update: GroupUpdate): (Record<string, unknown> & { event: string }) | undefined {
  if (update.type === "receiver-event") {
    const line = jsonEvent(update.event);
    return line === undefined ? undefined : { ...line, receiver: update.receiver, target: update.target };
  }
  if (update.type === "receiver-ended") {
    const { receiver, target, result } = update;
    return { event: "receiver-ended", receiver, target, ...peerOf(result), seconds: result.seconds };
  }
  const { type, ...fields } = update;
  return { event: type, ...fields };
}

function peerOf(result: ReceiverResult): Record<string, unknown> {
  const { fingerprint, address, verdict, exit, error, files, bytes, resumedBytes, attempts, failures } =
    result;
  return {
    id: fingerprint,
    address,
    result: verdict,
    exit,
    code: error?.code,
    text: error?.text,
    files,
    bytes,
    resumedBytes,
    relayedBytes: result.relayedBytes,
    root: result.root,
    wireBytes: result.path?.wireBytes ?? 0,
    retransmittedBytes: result.path?.retransmittedBytes ?? 0,
    path: result.path,
    attempts,
    errors: failures,
  };
}

/** The last JSON line of a transfer to many. */
export function groupResultEvent(result: SendToManyResult): Record<string, unknown> & { event: string } {
  const { receivers } = result;
  const sum = (value: (receiver: ReceiverResult) => number): number =>
    receivers.reduce((total, receiver) => total + value(receiver), 0);
  return {
    event: "result",
    result: result.result,
    exit: result.exit,
    files: sum(({ files }) => files),
    bytes: sum(({ bytes }) => bytes),
    wireBytes: sum(({ path }) => path?.wireBytes ?? 0),
    retransmittedBytes: sum(({ path }) => path?.retransmittedBytes ?? 0),
    resumedBytes: sum(({ resumedBytes }) => resumedBytes),
    seconds: result.seconds,
    completeReceivers: result.completeReceivers,
    quorum: result.quorum,
    sourceReadBytes: result.sourceReadBytes,
    sourceRereadBytes: result.sourceRereadBytes,
    relay: result.relay,
    peers: receivers.map((receiver) => ({ target: receiver.target, ...peerOf(receiver) })),
    errors: receivers.flatMap(({ target, error, failures }) =>
      failures.length > 0
        ? failures.map((failure) => ({ ...failure, peer: target }))
        : error === undefined
          ? []
          : [{ path: "", code: error.code, text: error.text, peer: target }],
    ),
  };
}

/** Follows a transfer to many to its end and says how it went. */
export async function followFleet(transfer: GroupTransfer, output: Output): Promise<SendToManyResult> {
  const board = new Board(output);
  try {
    for await (const update of transfer) {
      if (output.wantsJson) {
        const event = groupJsonEvent(update);
        if (event !== undefined) output.json(event);
      } else board.handle(update);
    }
    const result = await transfer.result;
    board.end();
    output.divert(undefined);
    if (!output.wantsJson) sayTable(result, output);
    return result;
  } finally {
    board.end();
    output.divert(undefined);
  }
}

function sayTable(result: SendToManyResult, output: Output): void {
  const { receivers, completeReceivers, quorum } = result;
  output.say("");
  for (const receiver of receivers) output.say(rowOf(receiver));
  const counts = new Map<string, number>();
  for (const { verdict } of receivers) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  const kinds = [...counts].map(([verdict, count]) => `${count} ${verdict}`).join(", ");
  const enough =
    quorum === undefined ? "" : `; quorum of ${quorum.needed} ${quorum.isReached ? "reached" : "missed"}`;
  output.say(
    `${completeReceivers} of ${receivers.length} receivers complete (${kinds}) in ${formatDuration(result.seconds * 1e6)}${enough}`,
  );
  output.say(
    `source read ${formatBytes(result.sourceReadBytes)}, of it ${formatBytes(result.sourceRereadBytes)} again`,
  );
  if (result.relay !== undefined) {
    const { sentOnceBytes, sentAgainBytes, relayedBytes } = result.relay;
    output.say(
      `sent ${formatBytes(sentOnceBytes)} once, ${formatBytes(sentAgainBytes)} again; receivers gave each other ${formatBytes(relayedBytes)}`,
    );
  }
  if (result.exit !== 0) output.error(`godwit: ${shown(result.text)}`);
}
