/** Receipts through the built command line: signed at the end of a push, checked against files. */
import { appendFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Receipt } from "../../src/api/receipt.ts";
import { Scene, type Serving } from "./godwit.ts";

let scene: Scene;
let server: Serving;
let where: string;
let fingerprint: string;

beforeEach(async () => {
  scene = new Scene();
  mkdirSync(scene.path("served"));
  mkdirSync(scene.path("tree", "empty"), { recursive: true });
  writeFileSync(scene.path("tree", "small.txt"), "small\n");
  writeFileSync(scene.path("tree", "large.bin"), Buffer.alloc(700_000, "0123456789abcdef"));
  writeFileSync(scene.path("tree", "nothing"), "");
  symlinkSync("small.txt", scene.path("tree", "link"));
  server = await scene.serve("server", "served", ["--open"]);
  ({ at: where, fingerprint } = server);
});
afterEach(() => scene.close());

const send = (...args: string[]): string[] => [
  "send",
  "tree",
  "--links",
  "--to",
  where,
  "--pin",
  fingerprint,
  "--receipt",
  "receipt.json",
  ...args,
];

const receipt = (): Receipt => JSON.parse(readFileSync(scene.path("receipt.json"), "utf8")) as Receipt;

const verify = (...args: string[]): Promise<{ status: number | null; stderr: string }> =>
  scene.run("client", ["verify", "receipt.json", ...args]);

describe("a receipt", () => {
  test("holds at both ends and names who has what since when", async () => {
    const before = Date.now();
    const sent = await scene.run("client", send("--json"));
    expect(sent.status).toBe(0);
    const stored = receipt();
    expect(sent.events.at(-1)?.["root"]).toBe(stored.root);
    expect((await server.event("transfer-ended"))["root"]).toBe(stored.root);
    expect(stored.receiver.fingerprint).toBe(fingerprint);
    const id = (await scene.run("client", ["id"])).stdout.toString().trim();
    expect(stored.sender.fingerprint).toBe(id);
    expect(stored.files).toBe(3);
    expect(stored.bytes).toBe(700_006);
    expect(stored.entries.map(({ kind, path }) => `${kind} ${path}`).toSorted()).toEqual([
      "directory tree",
      "directory tree/empty",
      "file tree/large.bin",
      "file tree/nothing",
      "file tree/small.txt",
      "symlink tree/link",
    ]);
    expect(Date.parse(stored.flushedAt)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(stored.flushedAt)).toBeLessThanOrEqual(Date.now());

    expect((await verify()).status).toBe(0);
    for (const directory of [".", "served"]) {
      const ended = await verify(directory, "--by", fingerprint);
      expect(ended.stderr).toContain("6 entries compared: all as signed");
      expect(ended.status).toBe(0);
    }
  });

  test("shows what changed since: contents, size, kind, target, and what is gone", async () => {
    expect((await scene.run("client", send())).status).toBe(0);
    writeFileSync(scene.path("served", "tree", "small.txt"), "SMALL\n");
    appendFileSync(scene.path("served", "tree", "large.bin"), "x");
    rmSync(scene.path("served", "tree", "empty"), { recursive: true });
    rmSync(scene.path("served", "tree", "link"));
    symlinkSync("nothing", scene.path("served", "tree", "link"));
    rmSync(scene.path("served", "tree", "nothing"));
    mkdirSync(scene.path("served", "tree", "nothing"));
    const ended = await verify("served");
    expect(ended.status).toBe(8);
    expect(ended.stderr).toContain("tree/small.txt has other contents");
    expect(ended.stderr).toContain("tree/large.bin has 700001 bytes instead of 700000");
    expect(ended.stderr).toContain("tree/empty is missing");
    expect(ended.stderr).toContain("tree/link leads somewhere else");
    expect(ended.stderr).toContain("tree/nothing is no regular file");
    expect(ended.stderr).toContain("5 of 6 entries are not as signed");
  });

  test("any change to it ends with status 7; what is no receipt with 2; another signer with 7", async () => {
    expect((await scene.run("client", send())).status).toBe(0);
    const good = receipt();
    const first = good.entries[0];
    const other = (await scene.run("server", ["id", "--home", scene.path("home-x")])).stdout
      .toString()
      .trim();
    const zeros = "0".repeat(64);
    const changed: readonly Receipt[] = [
      { ...good, bytes: good.bytes + 1 },
      { ...good, files: good.files - 1 },
      { ...good, root: zeros },
      { ...good, flushedAt: "2020-01-01T00:00:00.000Z" },
      { ...good, transferId: "0".repeat(32) },
      { ...good, sender: { ...good.sender, key: zeros } },
      { ...good, receiver: { ...good.receiver, key: good.sender.key } },
      { ...good, receiver: { ...good.receiver, fingerprint: other } },
      { ...good, entries: good.entries.slice(1) },
      { ...good, entries: [{ ...first, path: `${first.path}x` }, ...good.entries.slice(1)] },
    ];
    for (const value of changed) {
      writeFileSync(scene.path("receipt.json"), JSON.stringify(value));
      expect((await verify()).status, JSON.stringify(value).slice(0, 300)).toBe(7);
    }
    writeFileSync(scene.path("receipt.json"), JSON.stringify(good));
    expect((await verify("--by", other)).status).toBe(7);
    expect((await verify()).status).toBe(0);
    writeFileSync(scene.path("receipt.json"), JSON.stringify({ ...good, version: 2 }));
    expect((await verify()).status).toBe(2);
  });

  test("covers what is durable when some entries failed", async () => {
    mkdirSync(scene.path("served", "tree"));
    writeFileSync(scene.path("served", "tree", "small.txt"), "mine\n");
    const sent = await scene.run("client", send());
    expect(sent.status).toBe(3);
    expect(receipt().entries.map(({ path }) => path)).not.toContain("tree/small.txt");
    expect((await verify("served")).status).toBe(0);
  });

  test("there is none when nothing was stored", async () => {
    expect((await scene.run("client", send())).status).toBe(0);
    rmSync(scene.path("receipt.json"));
    const args = `send tree/small.txt --update --to ${where}/tree --receipt receipt.json --pin ${fingerprint}`;
    const again = await scene.run("client", args.split(" "));
    expect(again.stderr).toContain("no receipt");
    expect(again.status).toBe(0);
  });
});
