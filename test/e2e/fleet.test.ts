/** One to many through the built command line: each receiver is a process of its own. */
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Scene, type Serving } from "./godwit.ts";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.close());

/** A receiver whose inbox has its name. */
function serve(who: string, ...more: string[]): Promise<Serving> {
  mkdirSync(scene.path(who), { recursive: true });
  return scene.serve(who, who, more);
}

test("eight receivers: one refuses, one address is dead, one is killed and comes back", async () => {
  const film = randomBytes(8_000_000);
  writeFileSync(scene.path("film"), film);
  const names = ["r0", "r1", "r2", "r3", "r4", "killed"];
  const receivers = await Promise.all(names.map((name) => serve(name, "--open")));
  const closed = await serve("closed");
  const killed = receivers[5];
  // A port on which nobody answers, and which nobody else can be given.
  const dead = createSocket("udp4");
  await new Promise<void>((done) => dead.bind(0, "127.0.0.1", done));
  const targets = [...[...receivers, closed].map(({ at }) => at), `127.0.0.1:${dead.address().port}`];
  writeFileSync(scene.path("fleet.txt"), `# the fleet\n${targets.slice(2).join("\n")}\n\n`);

  const to = ["--to", targets[0], "--to", targets[1], "--to", "@fleet.txt"];
  const rules = ["--rate", "80mbit", "--patience", "3s", "--retry", "1"];
  const sending = scene.start("sender", ["send", "film", ...to, ...rules, "--accept-new", "--json"]);
  await sending.event(
    "progress",
    ({ receiver, verifiedBytes }) => receiver === 5 && Number(verifiedBytes) > 5e6,
  );
  killed.child.kill("SIGKILL");
  await killed.ended;
  await serve("killed", "--open", "--listen", killed.at);

  const { status, events } = await sending.ended;
  dead.close();
  const result = events.at(-1);
  const peers = result?.["peers"] as {
    target: string;
    result: string;
    exit: number;
    resumedBytes: number;
  }[];
  expect(peers.map((peer) => [peer.target, peer.result, peer.exit])).toEqual([
    ...targets.slice(0, 5).map((target) => [target, "verified", 0]),
    [targets[5], "resumed", 0],
    [targets[6], "refused", 7],
    [targets[7], "unreachable", 6],
  ]);
  expect([status, result?.["result"], result?.["exit"], result?.["completeReceivers"]]).toEqual([
    3,
    "partial",
    3,
    6,
  ]);
  expect(peers[5].resumedBytes).toBeGreaterThan(256 * 1024);
  for (const name of names) expect(readFileSync(scene.path(name, "film")).equals(film)).toBe(true);
  expect(readdirSync(scene.path("closed"))).toEqual([]);
  // One verdict each, told once.
  const ends = events.filter(({ event }) => event === "receiver-ended").map(({ target }) => target);
  expect(new Set(ends)).toEqual(new Set(targets));
  expect(ends.length).toBe(8);
  expect(result?.["sourceReadBytes"]).toBe(8_000_000);
});

test("all complete: status 0, a table, and a receipt of each", async () => {
  mkdirSync(scene.path("tree/sub"), { recursive: true });
  writeFileSync(scene.path("tree/a"), "a");
  writeFileSync(scene.path("tree/sub/b"), randomBytes(600_000));
  const receivers = await Promise.all(["r0", "r1", "r2"].map((name) => serve(name, "--open")));
  const to = receivers.flatMap(({ at }) => ["--to", `${at}/into`]);
  const sent = await scene.run("sender", ["send", "tree", ...to, "--accept-new", "--receipt", "receipts"]);
  expect(sent.status).toBe(0);
  expect(sent.stderr).toContain("3 of 3 receivers complete (3 verified)");
  expect(sent.stderr.match(/verified {4,}2 files, 600 kB/g)?.length).toBe(3);
  const receipts = readdirSync(scene.path("receipts"));
  expect(receipts.length).toBe(3);
  for (const [i, receipt] of receipts.toSorted().entries()) {
    expect(existsSync(scene.path(`r${i}/into/tree/sub/b`))).toBe(true);
    const checked = await scene.run("sender", [
      "verify",
      scene.path("receipts", receipt),
      scene.path("r0/into"),
    ]);
    expect([checked.status, checked.stderr.includes("error")]).toEqual([0, false]);
  }
});

test("a usage error of one target sends nothing to anybody", async () => {
  writeFileSync(scene.path("film"), "film");
  const { at } = await serve("r0", "--open");
  const to = ["--to", at, "--to", "host:0"];
  const sent = await scene.run("sender", ["send", "film", ...to, "--accept-new"]);
  expect(sent.status).toBe(2);
  const missing = await scene.run("sender", ["send", "film", "--to", "@missing.txt", "--accept-new"]);
  expect([missing.status, missing.stderr.includes("no list of receivers")]).toEqual([2, true]);
  expect(readdirSync(scene.path("r0"))).toEqual([]);
});

test("a signal ends all lanes; the same command resumes them", async () => {
  const film = randomBytes(6_000_000);
  writeFileSync(scene.path("film"), film);
  const receivers = await Promise.all(["r0", "r1"].map((name) => serve(name, "--open")));
  const to = receivers.flatMap(({ at }) => ["--to", at]);
  const sending = scene.start("sender", [
    "send",
    "film",
    ...to,
    "--rate",
    "30mbit",
    "--accept-new",
    "--json",
  ]);
  await sending.event("progress", ({ verifiedBytes }) => Number(verifiedBytes) > 2e6);
  sending.child.kill("SIGINT");
  const ended = await sending.ended;
  expect(ended.status).toBe(130);
  const again = await scene.run("sender", ["send", "film", ...to, "--json"]);
  const peers = again.events.at(-1)?.["peers"] as { result: string; text?: string }[];
  expect(peers.map((peer) => [peer.result, peer.text])).toEqual([
    ["resumed", undefined],
    ["resumed", undefined],
  ]);
  expect(again.status).toBe(0);
  for (const name of ["r0", "r1"]) expect(readFileSync(scene.path(name, "film")).equals(film)).toBe(true);
});
