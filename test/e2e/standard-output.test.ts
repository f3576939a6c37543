/** What becomes of a command whose output nobody reads, or whose output has no room. */
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MAIN, Scene } from "./godwit.ts";

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});
afterEach(() => scene.close());

/** Runs `godwit COMMAND` in a shell and gives its status and what it said on standard error. */
function shell(command: string): Promise<{ status: number; stderr: string }> {
  const line = command.replaceAll("godwit", `"${process.execPath}" "${MAIN}"`);
  const env = { ...process.env, HOME: scene.directory, GODWIT_HOME: scene.path("home-client") };
  return new Promise((done) => {
    execFile("bash", ["-c", line], { cwd: scene.directory, env }, (error, _stdout, stderr) =>
      done({ status: error === null ? 0 : Number(error.code), stderr }),
    );
  });
}

test("a reader that went away ends nothing", async () => {
  expect(await shell("set -o pipefail; (sleep 0.2; godwit --help) | true")).toEqual({
    status: 0,
    stderr: "",
  });
  expect(await shell("set -o pipefail; (sleep 0.2; godwit send --help) | true")).toEqual({
    status: 0,
    stderr: "",
  });
});

test.runIf(existsSync("/dev/full"))(
  "a full disk behind standard output is status 5 and one sentence",
  async () => {
    expect(await shell("godwit id > /dev/full")).toEqual({
      status: 5,
      stderr: "godwit: cannot write to standard output: disk full\n",
    });
    writeFileSync(scene.path("file"), Buffer.alloc(3_000_000, 1));
    const { at } = await scene.serve("server", ".", ["--open"]);
    const got = await shell(`godwit get ${at}/file --accept-new --quiet --into - > /dev/full`);
    expect(got).toEqual({ status: 5, stderr: "godwit: the stream to write to failed: disk full\n" });
  },
);

test("a pipe that is full again and again gets everything, and Node has nothing to warn of", async () => {
  writeFileSync(scene.path("file"), Buffer.alloc(12_000_000, 1));
  const { at } = await scene.serve("server", ".", ["--open"]);
  const got = await shell(
    `set -o pipefail; godwit get ${at}/file --accept-new --quiet --into - | cmp - file`,
  );
  expect(got).toEqual({ status: 0, stderr: "" });
});
