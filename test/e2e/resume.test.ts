/** kill -9 of either side or both: the same command continues, nothing half is visible, nothing is left. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Scene, type JsonEvent, type Running } from "./godwit.ts";

const RESUMED = /^big\.bin resumed at [4-6]\d\.\d %\n$/;
const SIZE_BYTES = 24 * 1024 * 1024;

let scene: Scene;
let server: Running;
let port: number;
let bytes: Buffer;

beforeEach(async () => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  bytes = randomBytes(SIZE_BYTES);
  writeFileSync(scene.path("big.bin"), bytes);
  await startServer(0);
});

afterEach(() => scene.close());

async function startServer(onPort: number): Promise<void> {
  server = scene.start("server", ["serve", "inbox", "--listen", `127.0.0.1:${onPort}`, "--open", "--json"]);
  port = (await server.event("listening"))["port"] as number;
}

const command = (...more: string[]): string[] => [
  "send",
  "big.bin",
  "--to",
  `127.0.0.1:${port}`,
  "--accept-new",
  "--json",
  ...more,
];

/** Starts the slow first attempt and waits until some of it is verified and journaled at the receiver. */
async function halfWay(): Promise<Running> {
  const sending = scene.start("client", command("--rate", "80mbit"));
  await sending.event("transfer-started");
  for (;;) {
    const progress = await nextProgress(sending);
    if ((progress["verifiedBytes"] as number) > SIZE_BYTES / 2) return sending;
  }
}

/** Progress lines of a command, one a call. */
function nextProgress(running: Running): Promise<JsonEvent> {
  return new Promise((resolve, reject) => {
    let text = "";
    const listen = (part: Buffer): void => {
      text += part.toString("utf8");
      const line = text.split("\n").find((each) => each.includes('"event":"progress"') && each.endsWith("}"));
      if (line === undefined) return;
      running.child.stdout?.off("data", listen);
      resolve(JSON.parse(line) as JsonEvent);
    };
    running.child.stdout?.on("data", listen);
    void running.ended.then((ended) => reject(new Error(`ended early: ${ended.stderr}`)));
  });
}

/** Runs the same command to its end and says what it found. */
async function again(said: RegExp): Promise<{ resumedBytes: number }> {
  const ended = await scene.run("client", command());
  expect(ended.status).toBe(0);
  expect(ended.stderr).toMatch(said);
  const lines = ended.stdout.toString("utf8").trimEnd().split("\n");
  expect(readFileSync(scene.path("inbox/big.bin")).equals(bytes)).toBe(true);
  expect(readdirSync(scene.path("inbox"))).toEqual(["big.bin"]);
  return JSON.parse(lines.at(-1) ?? "") as { resumedBytes: number };
}

const visible = (): string[] =>
  readdirSync(scene.path("inbox")).filter((name) => !name.startsWith(".godwit"));

describe("kill -9", () => {
  test("of the sender", async () => {
    const sending = await halfWay();
    sending.child.kill("SIGKILL");
    await sending.ended;
    expect(visible()).toEqual([]);
    const { resumedBytes } = await again(RESUMED);
    // What was verified and not yet flushed may be lost: at most 8 MiB and 5 %.
    expect(resumedBytes).toBeGreaterThan(SIZE_BYTES / 2 - 8 * 1024 * 1024 - SIZE_BYTES / 20);
  });

  test("of the receiver", async () => {
    const sending = await halfWay();
    const onPort = port;
    server.child.kill("SIGKILL");
    await server.ended;
    sending.child.kill("SIGTERM");
    expect((await sending.ended).status).toBe(143);
    expect(visible()).toEqual([]);
    await startServer(onPort);
    expect((await again(RESUMED)).resumedBytes).toBeGreaterThan(0);
  });

  test("of both at once", async () => {
    const sending = await halfWay();
    const onPort = port;
    server.child.kill("SIGKILL");
    sending.child.kill("SIGKILL");
    await Promise.all([server.ended, sending.ended]);
    await startServer(onPort);
    expect((await again(RESUMED)).resumedBytes).toBeGreaterThan(0);
  });
});

test("a source that changed since starts again, and says so", async () => {
  const sending = await halfWay();
  sending.child.kill("SIGKILL");
  await sending.ended;
  bytes = randomBytes(SIZE_BYTES - 1);
  writeFileSync(scene.path("big.bin"), bytes);
  expect((await again(/^$/)).resumedBytes).toBe(0);
  expect(await server.event("file-restarted")).toMatchObject({ path: "big.bin" });
});
