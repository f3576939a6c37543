/** What the addon does when the kernel or the path refuses a feature: carries on without it, and says so. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { nativeBinding } from "../../src/node/sockets/native-loader.ts";
import { openSocket } from "../../src/node/sockets/open.ts";
import { Scene } from "../e2e/godwit.ts";

const directory = mkdtempSync(join(tmpdir(), "godwit-refuse-"));
const shim = join(directory, "refusing-kernel.so");

/** Compiles the stand-in for a refusing kernel; false where there is no addon or no compiler. */
function canRefuse(): boolean {
  if (nativeBinding() === undefined) return false;
  const source = join(import.meta.dirname, "refusing-kernel.c");
  return spawnSync("cc", ["-shared", "-fPIC", "-o", shim, source, "-ldl"]).status === 0;
}

function runRefusing(what: string): Record<string, unknown> {
  const run = spawnSync(process.execPath, [join(import.meta.dirname, "degraded-child.mjs")], {
    encoding: "utf8",
    env: { ...process.env, LD_PRELOAD: shim, GODWIT_REFUSE: what },
  });
  expect(run.stderr).toBe("");
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("the socket in use is the one that the loader found", async () => {
  const socket = await openSocket({ host: "127.0.0.1" });
  expect(socket.description).toMatch(nativeBinding() === undefined ? /^dgram/ : /^native/);
  socket.close();
});

if (canRefuse()) {
  const all = "native (gso, gro, sendmmsg, recvmmsg)";
  const complete = { arrived: 1_000, isInOrder: true, datagramsSent: 1_000, sendErrors: 0 };

  describe("a refused feature", () => {
    test("nothing refused: everything stays on", () => {
      expect(runRefusing("nothing")).toMatchObject({ ...complete, after: all, degraded: [] });
    });

    test.each(["gso-eio", "gso-einval", "gso-late"])(
      "%s: one by one instead, nothing lost or doubled",
      (what) => {
        expect(runRefusing(what)).toMatchObject({
          ...complete,
          before: all,
          after: "native (gro, sendmmsg, recvmmsg)",
          degraded: ["gso"],
        });
      },
    );

    test("no sendmmsg and recvmmsg: a call each", () => {
      expect(runRefusing("mmsg")).toMatchObject({
        ...complete,
        after: "native (gso, gro, recvmmsg)",
        degraded: ["sendmmsg"],
        receiver: "native (gso, gro, sendmmsg)",
      });
    });

    test("a transfer goes on without GSO and says so", async () => {
      const scene = new Scene();
      try {
        mkdirSync(scene.path("in"));
        writeFileSync(scene.path("sample.bin"), Buffer.alloc(2_000_000, "a run of equal datagrams, "));
        const server = await scene.serve("server", "in", ["--open", "--once"]);
        const client = scene.start(
          "client",
          ["send", "sample.bin", "--to", server.at, "--accept-new", "--json"],
          { environment: { LD_PRELOAD: shim, GODWIT_REFUSE: "gso-eio" } },
        );
        expect(await client.event("socket-degraded")).toMatchObject({ feature: "gso" });
        expect(await client.event("result")).toMatchObject({ result: "complete", exit: 0 });
        await Promise.all([client.ended, server.ended]);
        const copy = readFileSync(scene.path("in", "sample.bin"));
        expect(copy.equals(readFileSync(scene.path("sample.bin")))).toBe(true);
      } finally {
        await scene.close();
      }
    });
  });
}
