/** Several processes that remember peers at once lose none. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KnownPeers } from "../../src/node/stores/known-peers.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "godwit-peers-"));
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

const STORE = pathToFileURL(resolve(import.meta.dirname, "../../dist/node/stores/known-peers.js")).href;

/** Eight groups of four letters that tell process and number. */
function fingerprint(who: number, i: number): string {
  const letter = (value: number): string => "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[value];
  return `AAA${letter(who)}-AAA${letter(i)}${"-AAAA".repeat(6)}`;
}

function runs(script: string): Promise<number | null> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
  return new Promise((end) => child.on("close", end));
}

test("four processes that each remember twenty peers at once keep all eighty", async () => {
  const rights = JSON.stringify({ mayRead: true, mayWrite: false });
  const scripts = [0, 1, 2, 3].map(
    (who) => `import { KnownPeers } from ${JSON.stringify(STORE)};
const all = ${JSON.stringify(Array.from({ length: 20 }, (_, i) => fingerprint(who, i)))};
all.forEach((fingerprint, i) => {
  const peers = KnownPeers.load(${JSON.stringify(home)});
  if (i % 2 === 0) peers.trust(fingerprint, ${rights});
  else peers.rememberAddress(fingerprint, "192.0.2.${who}:" + (1000 + i));
});`,
  );
  expect(await Promise.all(scripts.map(runs))).toEqual([0, 0, 0, 0]);
  const peers = KnownPeers.load(home).list();
  const expected = [0, 1, 2, 3].flatMap((who) => Array.from({ length: 20 }, (_, i) => fingerprint(who, i)));
  expect(peers.map((peer) => peer.fingerprint).sort()).toEqual(expected.sort());
  expect(existsSync(join(home, "known_peers.json.lock"))).toBe(false);
});

test("a store that was read before another process changed it loses nothing", () => {
  const early = KnownPeers.load(home);
  KnownPeers.load(home).trust(fingerprint(0, 0), { mayRead: true, mayWrite: true, name: "first" });
  early.rememberAddress(fingerprint(1, 1), "192.0.2.1:4639");
  expect(early.byName("first")?.fingerprint).toBe(fingerprint(0, 0));
  expect(KnownPeers.load(home).list()).toHaveLength(2);
});

test("the lock of a process that died is removed", () => {
  const lock = join(home, "known_peers.json.lock");
  KnownPeers.load(home);
  writeFileSync(lock, "");
  utimesSync(lock, new Date(), new Date(Date.now() - 60_000));
  KnownPeers.load(home).trust(fingerprint(2, 2), { mayRead: true, mayWrite: true });
  expect(existsSync(lock)).toBe(false);
  expect(readFileSync(join(home, "known_peers.json"), "utf8")).toContain(fingerprint(2, 2));
});
