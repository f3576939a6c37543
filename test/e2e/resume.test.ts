/** kill -9 of either side or both: the same command continues, nothing half is visible, nothing is left. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Scene, type Running, type Serving } from "./godwit.ts";

const SIZE_BYTES = 24 * 1024 * 1024;

let scene: Scene;
let server: Serving;
let bytes: Buffer;

beforeEach(async () => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  bytes = randomBytes(SIZE_BYTES);
  writeFileSync(scene.path("big.bin"), bytes);
  server = await scene.serve("server", "inbox", ["--open"]);
});

afterEach(() => scene.close());

const command = (...more: string[]): string[] => [
  "send",
  "big.bin",
  "--to",
  server.at,
  "--accept-new",
  "--json",
  ...more,
];

/** Starts a first attempt, so slow that it is still under way when half of it is verified at the receiver. */
async function halfWay(): Promise<Running> {
  const sending = scene.start("client", command("--rate", "40mbit"));
  await sending.event("progress", ({ verifiedBytes }) => Number(verifiedBytes) > SIZE_BYTES / 2);
  return sending;
}

/** Starts a server in the place of one that was killed. */
async function restart(): Promise<void> {
  server = await scene.serve("server", "inbox", ["--open", "--listen", server.at]);
}

/** Runs the same command to its end; what it says it found, and how much. */
async function again(): Promise<{ said: string | undefined; resumedBytes: number }> {
  const ended = await scene.run("client", command());
  expect(ended.status).toBe(0);
  await server.completed();
  expect(readFileSync(scene.path("inbox/big.bin")).equals(bytes)).toBe(true);
  expect(readdirSync(scene.path("inbox"))).toEqual(["big.bin"]);
  const said = /^big\.bin resumed at \d\d\.\d %$/m.exec(ended.stderr)?.[0];
  return { said, resumedBytes: Number(ended.events.at(-1)?.["resumedBytes"]) };
}

/** The share of the file in percent as godwit shows it: never more than is there. */
const percentBelow = (haveBytes: number): string =>
  (Math.floor((1_000 * haveBytes) / SIZE_BYTES) / 10).toFixed(1);

const visible = (): string[] =>
  readdirSync(scene.path("inbox")).filter((name) => !name.startsWith(".godwit"));

describe("kill -9", () => {
  test("of the sender", async () => {
    const sending = await halfWay();
    sending.child.kill("SIGKILL");
    await sending.ended;
    expect(visible()).toEqual([]);
    const { said, resumedBytes } = await again();
    expect(said).toBe(`big.bin resumed at ${percentBelow(resumedBytes)} %`);
    // What was verified and not yet flushed may be lost: at most 8 MiB and 5 %.
    expect(resumedBytes).toBeGreaterThan(SIZE_BYTES / 2 - 8 * 1024 * 1024 - SIZE_BYTES / 20);
  });

  test("of the receiver", async () => {
    const sending = await halfWay();
    server.child.kill("SIGKILL");
    await server.ended;
    sending.child.kill("SIGTERM");
    expect((await sending.ended).status).toBe(143);
    expect(visible()).toEqual([]);
    await restart();
    expect((await again()).said).toBeDefined();
  });

  test("of both at once", async () => {
    const sending = await halfWay();
    server.child.kill("SIGKILL");
    sending.child.kill("SIGKILL");
    await Promise.all([server.ended, sending.ended]);
    await restart();
    expect((await again()).said).toBeDefined();
  });
});

test("a source that changed since starts again, and says so", async () => {
  const sending = await halfWay();
  sending.child.kill("SIGKILL");
  await sending.ended;
  bytes = randomBytes(SIZE_BYTES - 1);
  writeFileSync(scene.path("big.bin"), bytes);
  expect(await again()).toEqual({ said: undefined, resumedBytes: 0 });
  expect(await server.event("file-restarted")).toMatchObject({ path: "big.bin" });
});
