/** What is taken, refused, skipped and left alone; what peers that break the rules get. */
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { SimDisk } from "../../src/sim/disk.ts";
import type { EntryMessage } from "../../src/transfer/entry-message.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import type { TransferOptions } from "../../src/transfer/transfer-options.ts";
import { MessageDecoder } from "../../src/transfer/control-stream.ts";
import { encodeMessage } from "../../src/transfer/messages.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { ClientSession } from "../../src/transfer/client-session.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import { REQUEST } from "../support/hostile-peer.ts";
import { differences, disk, hash, outcomes, Pair, pull, push } from "./pair.ts";

const random = new SeededRandom(8, "content");
const bytes = (size: number): Uint8Array => random.bytes(new Uint8Array(size));
const A = bytes(1_000);
const B = bytes(CHUNK_BYTES + 5);

function run(from: SimDisk, to: SimDisk, options: Partial<TransferOptions>, names = ["t"]): Pair {
  const pair = new Pair(from, to, push(names, { options: { ...DEFAULT_OPTIONS, ...options } }));
  pair.run();
  return pair;
}

describe("existing files", () => {
  const start = (existing: Uint8Array): [SimDisk, SimDisk] => {
    const from = disk("from");
    const to = disk("to");
    from.plant("/t/a", A);
    from.plant("/t/b", B);
    to.plant("/t/a", existing);
    return [from, to];
  };

  test("are left alone: other contents are refused, of the same size and time too", () => {
    const altered = A.slice();
    altered[altered.length - 1] ^= 1;
    for (const existing of [altered, bytes(10)]) {
      const [from, to] = start(existing);
      const [client] = outcomes(run(from, to, {}));
      expect(client.code).toBe("PARTIAL");
      expect(client.failures.map(({ path, code }) => [path, code])).toEqual([["t/a", "EXISTS"]]);
      expect(
        differences(to.tree(), [
          ["/t/a", existing],
          ["/t/b", B],
        ]),
      ).toEqual([]);
    }
  });

  test("with the same contents and time they are complete: the command that was killed behind its last file", () => {
    const [from, to] = start(A);
    const [client, server] = outcomes(run(from, to, {}));
    expect([client.code, client.unchangedFiles, client.files]).toEqual([undefined, 1, 1]);
    expect([server.code, server.unchangedFiles]).toEqual([undefined, 1]);
    // The same command once more, after everything was said: nothing is sent, and nothing is wrong.
    const again = run(from, to, {});
    expect(outcomes(again)[0]).toMatchObject({ code: undefined, unchangedFiles: 2, files: 0 });
    expect(again.client.wireBytes).toBe(0);
    // A dry run says the same without looking at the contents.
    expect(outcomes(run(from, to, { dryRun: true }))[0]).toMatchObject({
      code: undefined,
      unchangedFiles: 2,
    });
  });

  test("with the same contents and another time they are refused", () => {
    const [from] = start(A);
    const to = new SimDisk(7, "later", () => 1_800_000_000_000_000);
    to.plant("/a", A);
    expect(outcomes(run(from, to, {}, ["t/a"]))[0].code).toBe("EXISTS");
  });

  test("alone, that is the verdict", () => {
    const [from, to] = start(bytes(10));
    const [client, server] = outcomes(run(from, to, {}, ["t/a"]));
    expect([client.code, server.code]).toEqual([undefined, undefined]);
    to.plant("/a", bytes(10));
    const [second] = outcomes(run(from, to, {}, ["t/a"]));
    expect(second.code).toBe("EXISTS");
  });

  test("are replaced with --overwrite", () => {
    const [from, to] = start(bytes(10));
    expect(outcomes(run(from, to, { overwrite: true }))[0].code).toBeUndefined();
    expect(
      differences(to.tree(), [
        ["/t/a", A],
        ["/t/b", B],
      ]),
    ).toEqual([]);
  });

  test("--update skips what has the same size and time, and replaces the rest", () => {
    const [from, to] = start(bytes(10));
    expect(outcomes(run(from, to, { update: true }))[0]).toMatchObject({ files: 2, unchangedFiles: 0 });
    const again = run(from, to, { update: true });
    expect(outcomes(again)[0]).toMatchObject({ code: undefined, files: 0, unchangedFiles: 2 });
    expect(again.server.received).toBe(0);
  });

  test("--update --checksum compares contents whatever the times", () => {
    const changed = B.slice();
    changed[CHUNK_BYTES] ^= 1;
    const from = disk("from");
    const to = disk("to");
    from.plant("/t/a", A);
    from.plant("/t/b", B);
    from.plant("/t/empty", new Uint8Array(0));
    to.plant("/t/a", A);
    to.plant("/t/b", changed);
    to.plant("/t/empty", new Uint8Array(0));
    const pair = run(from, to, { update: true, checksum: true });
    expect(outcomes(pair)[0]).toMatchObject({ code: undefined, files: 1, unchangedFiles: 2 });
    expect(pair.server.received).toBe(B.length);
    expect(
      differences(to.tree(), [
        ["/t/a", A],
        ["/t/b", B],
        ["/t/empty", new Uint8Array(0)],
      ]),
    ).toEqual([]);
  });

  test("--dry-run says what would happen and touches nothing", () => {
    const [from, to] = start(bytes(10));
    const before = to.tree();
    const pair = run(from, to, { dryRun: true });
    expect(outcomes(pair)[0]).toMatchObject({ code: "PARTIAL", files: 0, plannedEntries: 2 });
    expect(pair.server.events.filter(({ type }) => type === "file-planned")).toEqual([
      { type: "file-planned", path: "t/b", sizeBytes: B.length, replaces: false },
    ]);
    expect(differences(to.tree(), before)).toEqual([]);
    expect(
      pair.operations.filter(
        ({ side, operation }) => side === "server" && !/^(open|close)-root|lstat/.test(operation.kind),
      ),
    ).toEqual([]);
  });
});

test("--sparse names chunks of zeros instead of sending them, also across an interruption", () => {
  const sparse = new Uint8Array(50 * CHUNK_BYTES + 7);
  sparse.set(B, 20 * CHUNK_BYTES);
  const from = disk("from");
  const to = disk("to");
  from.plant("/t/sparse", sparse);
  from.plant("/t/zeros", new Uint8Array(3 * CHUNK_BYTES));
  const pair = run(from, to, { sparse: true });
  expect(outcomes(pair)[0]).toMatchObject({ code: undefined, files: 2 });
  expect(pair.server.received).toBe(2 * CHUNK_BYTES);
  const expected = [
    ["/t/sparse", sparse],
    ["/t/zeros", new Uint8Array(3 * CHUNK_BYTES)],
  ] as const;
  expect(differences(to.tree(), expected)).toEqual([]);
  for (let at = 100; at < 6_000; at += 300) {
    const again = disk("again");
    const options = { options: { ...DEFAULT_OPTIONS, sparse: true } };
    const cut = new Pair(from, again, push(["t"], options), {
      seed: at,
      onRound: ({ nowUs }) => nowUs > 1_000_000 + at,
    });
    cut.run();
    if (cut.isOver) continue;
    from.killProcess();
    again.killProcess();
    const second = new Pair(from, again, push(["t"], options), { seed: at });
    second.run();
    expect(outcomes(second)[0].text).toBe("2 files complete");
    expect(differences(again.tree(), expected)).toEqual([]);
  }
});

describe("what is in the way or special", () => {
  test("a directory, a link or a FIFO at the final name is refused with every option", () => {
    for (const options of [{}, { overwrite: true }, { update: true }])
      for (const obstacle of ["directory", "link", "fifo"]) {
        const from = disk("from");
        const to = disk("to");
        from.plant("/x", A);
        to.plant("/outside", B);
        if (obstacle === "directory") to.plantDirectory("/x");
        else if (obstacle === "link") to.plantSpecial("/x", "outside");
        else to.plantSpecial("/x");
        expect(outcomes(run(from, to, options, ["x"]))[0].code, obstacle).toBe("EXISTS");
        expect(differences(to.tree(), [["/outside", B]])).toEqual([]);
      }
  });

  test("a link planted at a parent is not followed", () => {
    const from = disk("from");
    const to = disk("to");
    from.plant("/d/x", A);
    to.plantDirectory("/elsewhere");
    to.plantSpecial("/d", "elsewhere");
    const [client] = outcomes(run(from, to, { overwrite: true }, ["d"]));
    expect(client.code).not.toBeUndefined();
    expect(to.tree().size).toBe(0);
  });

  test("FIFOs and links in the source are skipped by name; links go with --links", () => {
    const from = disk("from");
    from.plant("/t/a", A);
    from.plantSpecial("/t/fifo");
    from.plantSpecial("/t/link", "a");
    from.plantSpecial("/t/out", "../../etc/passwd");
    const to = disk("to");
    expect(outcomes(run(from, to, {}))[0]).toMatchObject({
      code: undefined,
      files: 1,
      links: 0,
      skippedEntries: 3,
    });
    const linked = disk("linked");
    expect(outcomes(run(from, linked, { links: true }))[0]).toMatchObject({
      code: undefined,
      files: 1,
      links: 1,
      skippedEntries: 2,
    });
  });

  test("a source that is missing or special by name is a failure", () => {
    const from = disk("from");
    from.plantSpecial("/fifo");
    expect(outcomes(run(from, disk("to"), {}, ["nothing"]))[0].code).toBe("SOURCE_MISSING");
    expect(outcomes(run(from, disk("to"), {}, ["fifo"]))[0].code).toBe("SOURCE_SPECIAL");
  });

  test("one unreadable of a hundred: the other 99 are complete", () => {
    const from = disk("from");
    const to = disk("to");
    for (let i = 0; i < 100; i++) from.plant(`/t/${i}`, A);
    const pair = new Pair(from, to, push(["t"]), {
      onDisk: (side, operation) =>
        side === "client" && operation.kind === "open-source" && operation.path.at(-1) === "50"
          ? "EACCES"
          : undefined,
    });
    pair.run();
    const [client, server] = outcomes(pair);
    expect([client.code, client.files, client.failures.map(({ path, code }) => [path, code])]).toEqual([
      "PARTIAL",
      99,
      [["t/50", "SOURCE_UNREADABLE"]],
    ]);
    expect(server.code).toBe("PARTIAL");
    expect(to.tree().size).toBe(99);
  });
});

describe("rules", () => {
  const names = (rules: readonly { include: boolean; pattern: string }[]): string[] => {
    const from = disk("from");
    const to = disk("to");
    for (const path of ["a.ts", "a.js", "src/b.ts", "src/deep/c.ts", "src/deep/c.js", "node_modules/x/y.ts"])
      from.plant(`/t/${path}`, A);
    const pair = new Pair(to, from, pull(["t"], { rules }));
    pair.run();
    return [...to.tree().keys()].map((path) => path.slice(3)).sort();
  };
  const include = (pattern: string) => ({ include: true, pattern });
  const exclude = (pattern: string) => ({ include: false, pattern });

  test("exclude by name, by directory, by path", () => {
    expect(names([exclude("*.js"), exclude("node_modules/")])).toEqual(["a.ts", "src/b.ts", "src/deep/c.ts"]);
    expect(names([exclude("t/src/deep/**")])).toEqual(["a.js", "a.ts", "node_modules/x/y.ts", "src/b.ts"]);
  });

  test("include only, and the first rule that matches", () => {
    expect(names([include("*.js")])).toEqual(["a.js", "src/deep/c.js"]);
    expect(names([include("b.ts"), exclude("*.ts")])).toEqual(["a.js", "src/b.ts", "src/deep/c.js"]);
    expect(names([include("**/deep/?.ts")])).toEqual(["src/deep/c.ts"]);
  });
});

test("what does not fit is refused before data moves, with what is missing", () => {
  const from = disk("from");
  const to = disk("to");
  from.plant("/t/a", bytes(3_000_000));
  to.faults = { ...to.faults, capacityBytes: 1_000_000 };
  const pair = run(from, to, {});
  const [client, server] = outcomes(pair);
  expect([client.code, server.code]).toEqual(["NO_SPACE", "NO_SPACE"]);
  expect(server.text).toMatch(
    /needs 3\.00 MB, .* free, .* missing; free space and run the same command again/,
  );
  expect(pair.server.received).toBe(0);
  expect(to.tree().size).toBe(0);
});

describe("a tree of more entries than may be open at once", () => {
  /** 4 200 files of 400 bytes, 1.68 MB. */
  const many = (): SimDisk => {
    const from = disk("from");
    for (let i = 0; i < 4_200; i++) from.plant(`/t/${i % 50}/${i}`, A.subarray(0, 400));
    return from;
  };

  test("that does not fit is refused before data moves, although what is open would fit", () => {
    const to = disk("to");
    to.faults = { ...to.faults, capacityBytes: 1_660_000 };
    const pair = run(many(), to, {});
    const [client, server] = outcomes(pair);
    expect([client.code, server.code, pair.server.received]).toEqual(["NO_SPACE", "NO_SPACE", 0]);
    expect(server.text).toContain("needs 1.68 MB");
    expect([...to.tree().keys()]).toEqual([]);
  });

  test("that fits is taken, and once more on a full disk it needs nothing", () => {
    const from = many();
    const to = disk("to");
    to.faults = { ...to.faults, capacityBytes: 40_000_000 };
    expect(outcomes(run(from, to, {}))[0]).toMatchObject({ code: undefined, files: 4_200 });
    // 4 200 blocks of 4 KiB are 17.2 MB: less than the 1.68 MB of the tree is free.
    to.faults = { ...to.faults, capacityBytes: 18_400_000 };
    expect(outcomes(run(from, to, {}))[0]).toMatchObject({ code: undefined, unchangedFiles: 4_200 });
  });
});

test("a full disk in the middle keeps what is verified; more room, and the same command completes", () => {
  const from = disk("from");
  const to = disk("to");
  const big = bytes(60 * CHUNK_BYTES);
  from.plant("/big", big);
  let written = 0;
  const pair = new Pair(from, to, push(["big"]), {
    onDisk: (side, operation) => {
      if (side !== "server" || operation.kind !== "write" || operation.bytes.length < 1_000) return undefined;
      written += operation.bytes.length;
      return written > 40 * CHUNK_BYTES ? "ENOSPC" : undefined;
    },
  });
  pair.run();
  expect(outcomes(pair).map(({ code }) => code)).toEqual(["NO_SPACE", "NO_SPACE"]);
  expect([...to.tree().keys()].every((path) => path.startsWith("/.godwit-"))).toBe(true);
  const again = run(from, to, {}, ["big"]);
  expect(outcomes(again).map(({ code }) => code)).toEqual([undefined, undefined]);
  expect(again.server.received).toBeLessThan(25 * CHUNK_BYTES);
  expect(differences(to.tree(), [["/big", big]])).toEqual([]);
});

describe("a peer that breaks the rules", () => {
  const ENTRY: EntryMessage = {
    type: "entry",
    object: 0,
    kind: "file",
    path: "x",
    sizeBytes: 10,
    mode: 0o644,
    modifiedAtUs: 0,
    token: new Uint8Array(16).fill(1),
    target: "",
  };
  /** A server on `to` that is told `messages`; returns its answers. */
  function talk(to: SimDisk, messages: readonly ControlMessage[], options: Partial<TransferOptions> = {}) {
    const host = { hash, peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y", umask: 0o022 };
    const policy = { location: "/", canRead: true, canWrite: true, keepsExisting: false };
    const session = new ServerSession(host, policy);
    const answers: ControlMessage[] = [];
    const decoder = new MessageDecoder();
    const settle = (): void => {
      for (;;) {
        const requests = session.takeDiskRequests();
        for (const { id, operation } of requests) session.handleDiskResult(id, to.perform(operation), 0);
        const bytes = session.takeControlBytes(100_000);
        answers.push(...decoder.handleBytes(bytes));
        if (requests.length === 0 && bytes.length === 0) return;
      }
    };
    const all: ControlMessage[] = [{ ...REQUEST, options: { ...DEFAULT_OPTIONS, ...options } }, ...messages];
    for (const message of all) {
      session.handleControlBytes(encodeMessage(message), 0);
      settle();
    }
    return { session, answers, settle };
  }

  const hostile = [
    "../x",
    "/etc/x",
    "a/../../x",
    "a//b",
    "",
    ".",
    "C:\\x",
    "..\\x",
    "CON",
    "x:y",
    "a\u0000",
    "x\u202e",
    "y. ",
    ".godwit-0",
  ];
  for (const kind of ["file", "directory", "symlink"] as const)
    test(`hostile names as ${kind} are refused, and nothing appears`, () => {
      for (const path of hostile)
        for (const options of [{}, { overwrite: true }, { update: true, links: true }]) {
          const to = disk("to");
          const { session, answers } = talk(
            to,
            [
              { ...ENTRY, kind, path, target: kind === "symlink" ? "t" : "" },
              { type: "entries-end", entries: 1, totalBytes: 10 },
            ],
            options,
          );
          expect(
            answers.find(({ type }) => type === "refuse"),
            path,
          ).toMatchObject({ code: "UNSAFE_NAME", object: 0 });
          expect([...to.tree().keys()].filter((name) => !name.startsWith("/.godwit-"))).toEqual([]);
          expect(to.calls["make-directory"] ?? 0).toBe(0);
          session.handleControlBytes(encodeMessage({ type: "finished" }), 0);
        }
    });

  test("a link, then a file through it: the file is refused", () => {
    const to = disk("to");
    to.plantDirectory("/real");
    const { answers } = talk(
      to,
      [
        { ...ENTRY, kind: "symlink", path: "l", target: "real", sizeBytes: 0 },
        { ...ENTRY, object: 1, path: "l/f" },
        { type: "entries-end", entries: 2, totalBytes: 10 },
      ],
      { links: true },
    );
    expect(
      answers
        .filter(({ type }) => type !== "progress")
        .map((answer) => ("object" in answer ? [answer.type, answer.object] : answer.type)),
    ).toContainEqual(["refuse", 1]);
    expect([...to.tree().keys()].filter((path) => path.includes("/f"))).toEqual([]);
  });

  const violations: readonly [string, readonly ControlMessage[]][] = [
    ["an object out of order", [{ ...ENTRY, object: 1 }]],
    ["an entry after the end", [{ type: "entries-end", entries: 0, totalBytes: 0 }, ENTRY]],
    ["a wrong count", [ENTRY, { type: "entries-end", entries: 2, totalBytes: 10 }]],
    ["a root for nothing", [{ type: "root", object: 5, sizeBytes: 1, root: new Uint8Array(32) }]],
    [
      "hashes beyond the end",
      [
        ENTRY,
        { type: "entries-end", entries: 1, totalBytes: 10 },
        { type: "chunk-hashes", object: 0, firstChunk: 1, hashes: [new Uint8Array(32)] },
      ],
    ],
    [
      "another size than offered",
      [
        ENTRY,
        { type: "entries-end", entries: 1, totalBytes: 10 },
        { type: "root", object: 0, sizeBytes: 11, root: new Uint8Array(32) },
      ],
    ],
    ["a message of the other side", [{ type: "accept", object: 0, mode: "data", have: [] }]],
    ["an early end", [{ type: "finished" }]],
    ["a second request", [REQUEST]],
  ];
  for (const [name, messages] of violations)
    test(`${name} ends the transfer and leaves nothing`, () => {
      const to = disk("to");
      const { session } = talk(to, messages);
      expect(session.outcome?.code).toBe("PROTOCOL_VIOLATION");
      expect(to.tree().size).toBe(0);
      expect(to.openHandles).toBe(0);
    });

  test("sizes of 2^53 - 1, many times over, and too many open entries are over a limit", () => {
    const big = Array.from({ length: 3 }, (_, object) => ({
      ...ENTRY,
      object,
      path: `x${object}`,
      sizeBytes: Number.MAX_SAFE_INTEGER,
    }));
    expect(talk(disk("to"), big).session.outcome?.code).toBe("OVER_LIMIT");
    // The server cannot answer before its disk does: the sender must not run ahead without end.
    const host = { hash, peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y", umask: 0 };
    const session = new ServerSession(host, {
      location: "/",
      canRead: true,
      canWrite: true,
      keepsExisting: false,
    });
    session.handleControlBytes(encodeMessage(REQUEST), 0);
    const to = disk("to");
    for (const { id, operation } of session.takeDiskRequests())
      session.handleDiskResult(id, to.perform(operation), 0);
    for (let object = 0; object < 5_000; object++)
      session.handleControlBytes(encodeMessage({ ...ENTRY, object, path: `x${object}` }), 0);
    expect((session as unknown as { ending: { code: string } }).ending.code).toBe("OVER_LIMIT");
  });

  test("a pull takes nothing but what was asked for", () => {
    const offered = (path: string, kind: EntryMessage["kind"] = "file"): string | undefined => {
      const to = disk("to");
      const host = { hash, peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y", umask: 0 };
      const request = pull(["d/a", "c"], { rules: [{ include: false, pattern: "*.key" }] });
      const session = new ClientSession(host, request, 0);
      const settle = (): void => {
        for (let requests = session.takeDiskRequests(); requests.length > 0;) {
          for (const { id, operation } of requests) session.handleDiskResult(id, to.perform(operation), 0);
          requests = session.takeDiskRequests();
        }
      };
      settle();
      session.handleControlBytes(encodeMessage({ ...ENTRY, path, kind }), 0);
      settle();
      if (session.outcome !== undefined) expect(to.tree().size).toBe(0);
      return session.outcome?.code;
    };
    for (const path of ["a", "a/x", "c", "c/d/e"]) expect([path, offered(path)]).toEqual([path, undefined]);
    for (const path of ["b", "d", "d/a", "ab", "A", "a/x.key", "c/y.key/z"])
      expect([path, offered(path), offered(path, "directory")]).toEqual([
        path,
        "PROTOCOL_VIOLATION",
        "PROTOCOL_VIOLATION",
      ]);
  });

  test("who asks for answers and does not read them is cut off, and who floods before there is a reader", () => {
    const flood = (withDisk: boolean): [string | undefined, number] => {
      const host = { hash, peerKey: new Uint8Array(32), peerFingerprint: "x", peerAddress: "y", umask: 0 };
      const policy = { location: "/", canRead: true, canWrite: true, keepsExisting: false };
      const session = new ServerSession(host, policy);
      const to = disk("to");
      session.handleControlBytes(encodeMessage(REQUEST), 0);
      for (let requests = session.takeDiskRequests(); requests.length > 0;) {
        if (!withDisk) break;
        for (const { id, operation } of requests) session.handleDiskResult(id, to.perform(operation), 0);
        requests = session.takeDiskRequests();
      }
      const { ending } = session as unknown as { ending: { code: string } | undefined };
      let [code, sentBytes, object] = [ending?.code, 0, 0];
      while (code === undefined && sentBytes < 100e6) {
        // Refused by name each: no entry stays open.
        const bytes = encodeMessage({ ...ENTRY, object: object++, path: `..${"x".repeat(900)}/` });
        sentBytes += bytes.length;
        session.handleControlBytes(bytes, 0);
        code = (session as unknown as { ending: { code: string } | undefined }).ending?.code;
      }
      return [code, sentBytes];
    };
    // Answers of about 1 kB each up to 16 MiB; entries kept up to 8 MiB.
    const [code, sentBytes] = flood(true);
    expect([code, sentBytes > 10e6, sentBytes < 30e6]).toEqual(["OVER_LIMIT", true, true]);
    const [earlyCode, earlyBytes] = flood(false);
    expect([earlyCode, earlyBytes > 8e6, earlyBytes < 9e6]).toEqual(["OVER_LIMIT", true, true]);
  });

  test("file data that was not accepted is a violation, and for a refused file is ignored", () => {
    const to = disk("to");
    to.plant("/x", A);
    const { session } = talk(to, [ENTRY]);
    expect(() => session.handlePiece(7, 0, A, 0, 5, 0)).toThrow("file data that was not accepted");
    expect(session.handlePiece(0, 0, A, 0, 5, 0)).toBe(0);
  });

  test("wrong data is fetched again four times, then given up as exit 8, and nothing stays", () => {
    const to = disk("to");
    const { session, answers, settle } = talk(to, [
      ENTRY,
      { type: "entries-end", entries: 1, totalBytes: 10 },
      { type: "chunk-hashes", object: 0, firstChunk: 0, hashes: [hash(A)] },
    ]);
    for (let attempt = 0; attempt < 4; attempt++) {
      expect(session.handlePiece(0, 0, B, 0, 10, 0)).toBe(10);
      settle();
    }
    expect(answers.filter(({ type }) => type === "refetch")).toHaveLength(3);
    expect(answers.find(({ type }) => type === "refuse")).toMatchObject({ code: "VERIFICATION_FAILED" });
    expect(answers.at(-1)).toMatchObject({ type: "result", code: "VERIFICATION_FAILED" });
    expect(session.takeConsumedBytes()).toBe(40);
    session.handleControlBytes(encodeMessage({ type: "finished" }), 0);
    settle();
    expect(to.tree().size).toBe(0);
  });

  test("a sender that lies about the root gets exit 8, nothing is published", () => {
    const to = disk("to");
    const content = A.subarray(0, 10);
    const { session, answers, settle } = talk(to, [
      ENTRY,
      { type: "entries-end", entries: 1, totalBytes: 10 },
      { type: "chunk-hashes", object: 0, firstChunk: 0, hashes: [hash(content)] },
      { type: "root", object: 0, sizeBytes: 10, root: new Uint8Array(32) },
    ]);
    session.handlePiece(0, 0, content, 0, 10, 0);
    settle();
    expect(answers.at(-1)).toMatchObject({ type: "result", code: "VERIFICATION_FAILED" });
    expect([...to.tree().keys()].filter((path) => !path.startsWith("/.godwit-"))).toEqual([]);
  });

  test("more than a thousand gaps in a chunk are over the limit", () => {
    const { session } = talk(disk("to"), [
      { ...ENTRY, sizeBytes: CHUNK_BYTES },
      { type: "entries-end", entries: 1, totalBytes: CHUNK_BYTES },
    ]);
    expect(() => {
      for (let at = 0; at < 4_000; at += 2) session.handlePiece(0, at, A, 0, 1, 0);
    }).toThrow("more than 1000 gaps");
  });

  test("modes lose setuid, setgid, sticky and what the umask takes", () => {
    const to = disk("to");
    const modes: number[] = [];
    for (const mode of [0o7777, 0o4755, 0o2700, 0o1666, 0o000, 0o777]) {
      const { session, settle } = talk(to, [
        { ...ENTRY, path: `m${mode}`, mode, sizeBytes: 0 },
        { type: "entries-end", entries: 1, totalBytes: 0 },
        { type: "root", object: 0, sizeBytes: 0, root: hash(Uint8Array.from([2, ...new Uint8Array(40)])) },
      ]);
      settle();
      session.handleControlBytes(encodeMessage({ type: "finished" }), 0);
      settle();
      const opened = to.perform({ kind: "open-root", location: "/", create: false });
      const looked =
        opened.ok && "root" in opened
          ? to.perform({ kind: "lstat", root: opened.root, path: [`m${mode}`] })
          : opened;
      modes.push(looked.ok && "facts" in looked ? looked.facts.mode : -1);
    }
    expect(modes).toEqual([0o755, 0o755, 0o700, 0o644, 0o000, 0o755]);
  });
});
