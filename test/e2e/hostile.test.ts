/** Peers that lie, through a real `serve` and the real commands: nothing outside, nothing raw on a terminal. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isLeftoverName, jobName, pathKey, stagingPath } from "../../src/files/staging-name.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { loadBlake3 } from "../../src/node/hash.ts";
import { loadIdentity } from "../../src/node/stores/identity.ts";
import type { EntryMessage } from "../../src/transfer/entry-message.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import type { TransferOptions } from "../../src/transfer/transfer-options.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { HOSTILE_NAMES, HOSTILE_TARGETS, hostileNames } from "../support/hostile-names.ts";
import { dialHostile, ENTRY, REQUEST, serveHostile, type HostilePeer } from "../support/hostile-peer.ts";
import { Scene, type Ended, type Running } from "./godwit.ts";

/** Names offered: the matrix, or as many as `npm run hostile:names` asks for. */
const NAMES = hostileNames(Number(process.env["HOSTILE_NAMES"] ?? HOSTILE_NAMES.length));

let scene: Scene;
let server: Running;
let port = 0;
const peers: { close(): void }[] = [];

beforeEach(async () => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  mkdirSync(scene.path("outside"));
  writeFileSync(scene.path("outside/canary"), "canary");
  await serve();
});

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.close();
  await scene.close();
});

async function serve(): Promise<void> {
  server = scene.start("server", ["serve", "inbox", "--listen", "127.0.0.1:0", "--open"]);
  port = Number((await server.said(/UDP port (\d+)\D/))[1]);
}

const at = (): string => `127.0.0.1:${port}`;

/** Does `step`; a failure with `code` is taken as "someone else was first". */
function unless(code: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== code) throw error;
  }
}

/** Everything below `directory`, with what it holds; godwit's own homes and the inbox left out. */
function surroundings(): string[] {
  const found: string[] = [];
  const walk = (path: string): void => {
    for (const name of readdirSync(scene.path(path)).toSorted()) {
      const below = join(path, name);
      if (/^(inbox|home-[a-z]+)$/.test(below)) continue;
      const facts = lstatSync(scene.path(below));
      const content = facts.isSymbolicLink()
        ? readlinkSync(scene.path(below))
        : facts.isFile()
          ? createHash("sha256")
              .update(readFileSync(scene.path(below)))
              .digest("hex")
          : "";
      found.push(`${below} ${facts.mode.toString(8)} ${content}`);
      if (facts.isDirectory()) walk(below);
    }
  };
  walk(".");
  return found;
}

/** What was received: everything in the inbox but godwit's own files. */
const received = (): string[] => readdirSync(scene.path("inbox")).filter((name) => !isLeftoverName(name));

async function attack(): Promise<HostilePeer> {
  const peer = await dialHostile(at(), scene.path("home-attacker"));
  peers.push(peer);
  return peer;
}

/** Offers entries to the server; resolves with what became of each, and the last word. */
async function offer(
  entries: readonly Partial<EntryMessage>[],
  options: Partial<TransferOptions> = {},
): Promise<{ answers: Map<number, string>; last: string | undefined }> {
  const peer = await attack();
  const { session, host } = peer;
  const answers = new Map<number, string>();
  session.onMessage = (message) => {
    if (message.type === "refuse") answers.set(message.object, message.code);
    else if (message.type === "committed" || message.type === "accept")
      answers.set(message.object, message.type);
  };
  session.say(
    { ...REQUEST, options: { ...DEFAULT_OPTIONS, ...options } },
    ...entries.map((entry, object): ControlMessage => ({ ...ENTRY, ...entry, object })),
    { type: "entries-end", entries: entries.length, totalBytes: entries.length },
  );
  host.wake();
  const result = await session.hear(
    ({ type }) => type === "result" || type === "rejected" || type === "accept",
  );
  const last = result !== undefined && "code" in result ? result.code : (session.closeCode ?? "accepted");
  if (session.closeCode === undefined) await peer.end();
  else peer.close();
  return { answers, last };
}

describe("names", () => {
  const kinds = ["file", "directory", "symlink"] as const;
  test.each<[string, Partial<TransferOptions>]>([
    ["links", { links: true }],
    ["links and --overwrite", { links: true, overwrite: true }],
    ["links and --update", { links: true, update: true }],
    ["links and --dry-run", { links: true, dryRun: true }],
  ])(
    `${NAMES.length} hostile names as file, directory and link, with %s: each refused, nothing written`,
    async (_name, options) => {
      expect(new Set(NAMES).size).toBeGreaterThanOrEqual(60);
      const before = surroundings();
      const entries = kinds.flatMap((kind) =>
        NAMES.map((path) => ({ kind, path, target: kind === "symlink" ? "t" : "" })),
      );
      const { answers, last } = await offer(entries, options);
      const wrong = entries.filter((_, object) => answers.get(object) !== "UNSAFE_NAME");
      expect(wrong.map(({ kind, path }) => [kind, path])).toEqual([]);
      expect(last).toBe("UNSAFE_NAME");
      expect(received()).toEqual([]);
      expect(surroundings()).toEqual(before);
    },
  );

  test("links whose targets leave the tree", async () => {
    const entries = HOSTILE_TARGETS.slice(0, -1).map((target, i) => ({
      kind: "symlink" as const,
      path: `l${i}`,
      target,
    }));
    const { answers } = await offer(entries, { links: true });
    expect(
      entries.filter((_, object) => answers.get(object) !== "UNSAFE_NAME").map(({ target }) => target),
    ).toEqual([]);
    // One byte more than a path may have is no control message at all.
    const { last } = await offer([{ kind: "symlink", path: "l", target: HOSTILE_TARGETS.at(-1) ?? "" }], {
      links: true,
    });
    expect([last, received()]).toEqual(["DECODE", []]);
  });

  test("a destination outside", async () => {
    for (const destination of ["..", "../outside", "/etc", "a/../../outside", "C:\\x"]) {
      const peer = await attack();
      const { session, host } = peer;
      session.say({ ...REQUEST, destination });
      host.wake();
      const answer = await session.hear(({ type }) => type === "rejected");
      expect([destination, answer]).toMatchObject([destination, { code: "UNSAFE_NAME" }]);
      peer.close();
    }
    expect(received()).toEqual([]);
  });

  test("asking for a path outside: nothing is read", async () => {
    for (const path of [
      "../outside/canary",
      "/etc/passwd",
      "a/../../outside/canary",
      "..",
      "%2e%2e/outside",
    ]) {
      const peer = await attack();
      const { session, host } = peer;
      session.say({ ...REQUEST, mode: "pull", paths: [path] });
      host.wake();
      expect([path, await session.gone()]).toEqual([path, "UNSAFE_NAME"]);
      expect(session.heard.filter(({ type }) => type === "entry")).toEqual([]);
      peer.close();
    }
  });
});

describe("what was planted in the destination", () => {
  test("links at the final name, at the staging name and at a parent; a FIFO", async () => {
    const hash = await loadBlake3();
    const crypto = nodeCryptoProvider();
    const { signing } = loadIdentity(scene.path("home-attacker"), crypto);
    const job = jobName(hash, signing.publicKey, REQUEST.transferId);
    const staging = stagingPath(job, ["staged"], pathKey(hash, "staged")).join("/");
    symlinkSync(scene.path("outside/canary"), scene.path("inbox/final"));
    symlinkSync(scene.path("outside/new"), scene.path("inbox", staging));
    symlinkSync(scene.path("outside"), scene.path("inbox/parent"));
    execFileSync("mkfifo", [scene.path("inbox/fifo")]);
    const before = surroundings();
    for (const options of [{}, { overwrite: true }, { update: true }]) {
      const entries = ["final", "parent/x", "parent/canary", "fifo"].map((path) => ({ path }));
      const { answers } = await offer(entries, options);
      expect([...answers.keys()].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
      for (const answer of answers.values())
        expect(["EXISTS", "DESTINATION_SPECIAL", "UNSAFE_NAME"]).toContain(answer);
      await offer([{ path: "staged" }], options);
      expect(surroundings()).toEqual(before);
    }
    // An honest sender meets the same links.
    mkdirSync(scene.path("parent"));
    writeFileSync(scene.path("parent/canary"), "other");
    writeFileSync(scene.path("final"), "other");
    const outside = statSync(scene.path("outside")).mtimeMs;
    const ended = await scene.run("client", [
      "send",
      "final",
      "parent",
      "--to",
      at(),
      "--accept-new",
      "--overwrite",
    ]);
    expect(ended.status).not.toBe(0);
    expect(readFileSync(scene.path("outside/canary"), "utf8")).toBe("canary");
    expect(statSync(scene.path("outside")).mtimeMs).toBe(outside);
  });

  test("a directory that turns into a link and back while a tree arrives", async () => {
    if (process.platform !== "linux") return;
    mkdirSync(scene.path("t/sub"), { recursive: true });
    for (let i = 0; i < 1_000; i++) writeFileSync(scene.path(`t/sub/f${i}`), `content ${i}`);
    mkdirSync(scene.path("inbox/t/sub"), { recursive: true });
    const sub = scene.path("inbox/t/sub");
    const turned = { times: 0, isEnough: false };
    const send = ["send", "t", "--to", at(), "--accept-new", "--overwrite"];
    const statuses: (number | null)[] = [];
    const sending = (async () => {
      // However fast the machine: until the directory was turned a hundred times.
      do statuses.push((await scene.run("client", send)).status);
      while (turned.times < 100);
      turned.isEnough = true;
    })();
    while (!turned.isEnough) {
      const aside = `${sub}.${turned.times}`;
      renameSync(sub, aside);
      // The receiver may make the directory anew in the moment between two steps: it then stays.
      unless("EEXIST", () => symlinkSync(scene.path("outside"), sub));
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      if (lstatSync(sub).isSymbolicLink()) {
        unlinkSync(sub);
        unless("ENOTEMPTY", () => renameSync(aside, sub));
      }
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      turned.times++;
    }
    await sending;
    expect(readdirSync(scene.path("outside"))).toEqual(["canary"]);
    expect(statuses.filter((status) => ![0, 3, 4, 9].includes(status ?? 1))).toEqual([]);
  });

  test("modes with setuid, setgid and sticky lose them", async () => {
    mkdirSync(scene.path("t"));
    mkdirSync(scene.path("t/d"));
    for (const mode of [0o4777, 0o2777, 0o1777, 0o6755, 0o7777]) {
      writeFileSync(scene.path(`t/${mode.toString(8)}`), "x");
      chmodSync(scene.path(`t/${mode.toString(8)}`), mode);
    }
    chmodSync(scene.path("t/d"), 0o7777);
    expect((await scene.run("client", ["send", "t", "--to", at(), "--accept-new"])).status).toBe(0);
    const umask = process.umask();
    for (const name of readdirSync(scene.path("inbox/t"))) {
      const mode = statSync(scene.path("inbox/t", name)).mode & 0o7777;
      const wanted = (name === "d" ? 0o777 : Number.parseInt(name, 8) & 0o777) & ~umask;
      expect([name, mode]).toEqual([name, wanted]);
    }
  });
});

describe("lists that lie", () => {
  test("counts, sizes, depths and entries without end: refused at once, and the server serves on", async () => {
    const cases: readonly (readonly [string, readonly ControlMessage[]])[] = [
      ["PROTOCOL_VIOLATION", [ENTRY, { type: "entries-end", entries: 10_000_000, totalBytes: 1 }]],
      ["PROTOCOL_VIOLATION", [ENTRY, { type: "entries-end", entries: 1, totalBytes: 2 ** 53 - 1 }]],
      ["PROTOCOL_VIOLATION", [{ ...ENTRY, object: 5 }]],
      [
        "NO_SPACE",
        [
          { ...ENTRY, sizeBytes: 2 ** 53 - 1 },
          { type: "entries-end", entries: 1, totalBytes: 2 ** 53 - 1 },
        ],
      ],
      [
        "OVER_LIMIT",
        [0, 1].map((object) => ({ ...ENTRY, object, path: `x${object}`, sizeBytes: 2 ** 53 - 1 })),
      ],
      [
        "OVER_LIMIT",
        Array.from({ length: 9_000 }, (_, object) => ({ ...ENTRY, object, path: `x${object}` })),
      ],
      ["DECODE", [{ ...ENTRY, path: "a/".repeat(100_000) }]],
    ];
    for (const [code, messages] of cases) {
      const peer = await attack();
      const { session, host } = peer;
      session.say(REQUEST, ...messages);
      host.wake();
      expect(await session.gone()).toBe(code);
      peer.close();
    }
    writeFileSync(scene.path("honest"), "honest");
    expect((await scene.run("client", ["send", "honest", "--to", at(), "--accept-new"])).status).toBe(0);
    expect(received()).toEqual(["honest"]);
  });
});

/** Raw characters that must not reach a terminal: C0 but newline, DEL, C1, bidirectional controls. */
const RAW =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
const EVIL = "\u001b]0;owned\u0007\u001b[2J\u009b31m\u202egnp.exe\u2066\r";

describe("what a hostile server can do to a client", () => {
  const run = (...args: string[]): Promise<Ended> => scene.run("client", [...args, "--accept-new"]);
  const clean = (ended: Ended): boolean =>
    !RAW.test(ended.stdout.toString("utf8")) && !RAW.test(ended.stderr);

  test("its names and sentences are shown escaped, in text and in JSON", async () => {
    const evil = await serveHostile((session, host) => {
      session.onMessage = (message) => {
        if (message.type !== "request") return;
        if (message.mode === "list")
          session.say(
            { ...ENTRY, path: EVIL },
            { ...ENTRY, object: 1, kind: "symlink", path: "l", target: EVIL },
            { type: "skipped", path: EVIL, isFailure: true, code: "SOURCE_CHANGED", text: EVIL },
            { type: "entries-end", entries: 2, totalBytes: 1 },
          );
        else session.say({ type: "rejected", code: "DECLINED", text: EVIL });
        host.wake();
      };
    });
    peers.push(evil);
    const to = `127.0.0.1:${evil.port}`;
    writeFileSync(scene.path("a"), "a");
    for (const json of [[], ["--json"]]) {
      const listed = await run("ls", to, ...json);
      expect([listed.stdout.includes("owned"), clean(listed)]).toEqual([true, true]);
      for (const args of [
        ["get", `${to}/a`, "--into", "back"],
        ["send", "a", "--to", to],
      ]) {
        const ended = await run(...args, ...json);
        expect([args[0], ended.status, clean(ended)]).toEqual([args[0], 9, true]);
      }
    }
  });

  test("get takes nothing that was not asked for", async () => {
    for (const path of ["b", "../a", ".bashrc", "A"]) {
      const evil = await serveHostile((session, host) => {
        session.onMessage = (message) => {
          if (message.type === "result") session.say({ type: "finished" });
          if (message.type !== "request") return host.wake();
          session.say({ ...ENTRY, path, sizeBytes: 0 }, { type: "entries-end", entries: 1, totalBytes: 0 });
          host.wake();
        };
      });
      peers.push(evil);
      const ended = await run("get", `127.0.0.1:${evil.port}/a`, "--into", "back");
      expect([path, ended.status]).toEqual([path, path === "../a" ? 9 : 10]);
      expect(readdirSync(scene.path("back"))).toEqual([]);
      rmSync(scene.path("back"), { recursive: true });
    }
  });

  test("serve shows what a client says escaped", async () => {
    await offer([{ path: EVIL }, { path: `${EVIL}/x`, kind: "directory" }]);
    const { session, host } = await attack();
    session.say(REQUEST, {
      type: "skipped",
      path: EVIL,
      isFailure: true,
      code: "SOURCE_CHANGED",
      text: EVIL,
    });
    session.say({ type: "entries-end", entries: 0, totalBytes: 0 });
    host.wake();
    await session.hear(({ type }) => type === "result");
    await server.said(/owned/);
    expect(RAW.test(server.stderr())).toBe(false);
  });
});
