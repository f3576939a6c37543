/**
 * Fuzz targets for the engines behind the control stream: a peer that says valid, altered and misplaced
 * messages, and sends any data. Whatever it says, only safe names appear, nothing stays open, no memory stays used.
 */
import { blake3 } from "@noble/hashes/blake3.js";
import { GodwitError } from "../../src/base/errors.ts";
import { parseSafePath } from "../../src/files/safe-path.ts";
import { isLeftoverName } from "../../src/files/staging-name.ts";
import { SimDisk } from "../../src/sim/disk.ts";
import { ClientSession, type ClientRequest } from "../../src/transfer/client-session.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import { encodeMessage } from "../../src/transfer/messages.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import type { TransferSession } from "../../src/transfer/session.ts";
import { MESSAGES } from "./file-targets.ts";
import type { FuzzTarget } from "./pool.ts";

const hash = (bytes: Uint8Array): Uint8Array => blake3(bytes);
const HOST = { hash, peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y", umask: 0o022 };

function stream(...messages: readonly ControlMessage[]): Uint8Array {
  return Buffer.concat(messages.map(encodeMessage));
}

function makeDisk(): SimDisk {
  let timeUs = 1_700_000_000_000_000;
  const disk = new SimDisk(7, "fuzz", () => (timeUs += 1_000));
  disk.plantDirectory("/d");
  disk.plant("/d/a", new Uint8Array(5_000).fill(3));
  disk.plant("/b", new Uint8Array(10));
  return disk;
}

/** Lets the session's disk work, and takes what it would send. */
function settle(session: TransferSession, disk: SimDisk): void {
  for (let round = 0; round < 10_000; round++) {
    const requests = session.takeDiskRequests();
    for (const { id, operation } of requests) session.handleDiskResult(id, disk.perform(operation), 0);
    const said = session.takeControlBytes(100_000).length;
    const piece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
    let sent = 0;
    while (sent < 4 && session.peekPiece(piece, false)) {
      const lengthBytes = Math.min(piece.availableBytes, 1_200);
      const { object, offset } = piece;
      session.takePiece(piece, lengthBytes, new Uint8Array(1_200), 0);
      session.handlePieceAcked(object, offset, lengthBytes);
      sent++;
    }
    session.takeConsumedBytes();
    session.takeEvents();
    if (requests.length === 0 && said === 0 && sent === 0) return;
  }
  throw new Error("a session that never comes to rest");
}

/** Tells a session the input in two parts, with file data between and after them, and looks at what is left. */
function drive(session: TransferSession, input: Uint8Array): void {
  const disk = makeDisk();
  const before = new Set(disk.tree().keys());
  settle(session, disk);
  const cut = (input.length * (input[0] ?? 0)) >>> 8;
  for (const part of [input.slice(0, cut), input.slice(cut)]) {
    session.handleControlBytes(part, 0);
    settle(session, disk);
    for (const object of [0, 1, input.at(-1) ?? 0]) {
      const offset = object * 70_000 + (input.at(-2) ?? 0);
      try {
        session.handlePiece(object, offset, new Uint8Array(1_200), 0, 1_200, 0);
      } catch (error) {
        if (!(error instanceof GodwitError)) throw error;
        session.cancel(error.code, error.message, 0);
      }
    }
    settle(session, disk);
  }
  session.cancel("INTERRUPTED", "over", 0);
  settle(session, disk);
  if (session.outcome === undefined) throw new Error("no outcome after a cancellation");
  if (disk.openHandles > 0) throw new Error(`${disk.openHandles} handles stay open`);
  const { receiver, supply } = session as unknown as {
    receiver: { pool?: { usedBytes: number } } | undefined;
    supply: { usedBytes: number };
  };
  const usedBytes = supply.usedBytes + (receiver?.pool?.usedBytes ?? 0);
  if (usedBytes > 0) throw new Error(`${usedBytes} bytes stay in use`);
  for (const path of disk.tree().keys()) {
    if (before.has(path) || isLeftoverName(path.slice(path.lastIndexOf("/") + 1))) continue;
    parseSafePath(path.slice(1));
  }
}

const of = (...types: readonly ControlMessage["type"][]): ControlMessage[] =>
  types.flatMap((type) => MESSAGES.filter((message) => message.type === type));

const [REQUEST] = MESSAGES as readonly [ControlMessage & { type: "request" }];
const LINKS = { ...DEFAULT_OPTIONS, links: true, overwrite: true };

/** A server: sent to, asked from, listed. */
export const server: FuzzTarget = {
  seeds: () => [
    stream(REQUEST, ...of("entry", "entries-end", "chunk-hashes", "root", "finished")),
    stream(
      { ...REQUEST, destination: "", options: LINKS },
      ...of("entry", "skipped", "source-failed", "entries-end"),
    ),
    stream(
      { ...REQUEST, options: { ...LINKS, sparse: true } },
      ...of("entry", "entries-end", "zero-chunks", "root"),
    ),
    stream({ ...REQUEST, options: { ...LINKS, dryRun: true } }, ...of("entry", "entries-end")),
    stream(
      { ...REQUEST, mode: "pull", paths: ["d", "b"], rules: [] },
      ...of("accept", "refetch", "committed", "result"),
    ),
    stream(
      { ...REQUEST, mode: "pull", paths: [""], rules: [] },
      ...of("accept", "refuse", "progress", "result"),
    ),
    stream({ ...REQUEST, mode: "list", paths: ["", "d"] }),
  ],
  check: (input) =>
    drive(
      new ServerSession(HOST, { location: "/", canRead: true, canWrite: true, keepsExisting: false }),
      input,
    ),
  shortRun: 1_000,
};

const REQUESTS: readonly ClientRequest[] = [
  { mode: "pull", paths: ["d", "a", "l"], into: "/", options: LINKS, rules: [] },
  { mode: "pull-pipe", path: "a" },
  { mode: "list", paths: [""] },
  {
    mode: "push",
    sources: [{ location: "/", path: ["d"], name: ["d"] }],
    destination: "",
    options: DEFAULT_OPTIONS,
    rules: [],
  },
  { mode: "push-pipe", name: "p", destination: "", options: DEFAULT_OPTIONS },
];

/** A client that pulls, lists or pushes; the first byte chooses. */
export const client: FuzzTarget = {
  seeds: () => {
    const answers = [
      stream(...of("entry", "entries-end", "chunk-hashes", "root", "finished")),
      stream(...of("accept", "refetch", "committed", "receipt", "result")),
      stream(...of("rejected")),
    ];
    return REQUESTS.flatMap((_, index) => answers.map((bytes) => Uint8Array.of(index, ...bytes)));
  },
  check(input) {
    const request = REQUESTS[(input[0] ?? 0) % REQUESTS.length];
    drive(new ClientSession(HOST, request, 0), input.slice(1));
  },
  shortRun: 1_000,
};

/** Valid messages of every type in any order, about the first three objects: each byte is one. */
export const sequence: FuzzTarget = {
  seeds: () => [Uint8Array.of(0, 1, 2, 3, 8, 9, 16), Uint8Array.of(3, 1, 19, 3, 14, 9, 10, 13, 16)],
  check(input) {
    const [first = 0, ...rest] = input;
    const said = rest.slice(0, 200).map((byte): ControlMessage => {
      const message = MESSAGES[1 + ((byte & 31) % (MESSAGES.length - 1))];
      return "object" in message ? { ...message, object: byte >> 6 } : message;
    });
    // Entries are numbered as they must be, or the first wrong number would end it.
    let object = 0;
    const numbered = said.map((message) =>
      message.type === "entry" ? { ...message, object: object++ } : message,
    );
    const bytes = stream(...numbered);
    if (first & 1) {
      drive(new ClientSession(HOST, REQUESTS[(first >> 1) % REQUESTS.length], 0), bytes);
      return;
    }
    const mode = (["push", "push", "pull", "list"] as const)[(first >> 1) & 3];
    const options = { ...LINKS, dryRun: (first & 8) > 0, sparse: (first & 16) > 0, update: (first & 32) > 0 };
    const request = {
      ...REQUEST,
      mode,
      options,
      destination: "",
      paths: mode === "push" ? [] : ["d", ""],
      rules: [],
    };
    const policy = { location: "/", canRead: true, canWrite: true, keepsExisting: false };
    drive(new ServerSession(HOST, policy), Uint8Array.of(...stream(request), ...bytes));
  },
  shortRun: 1_000,
};
