/** `godwit clean` and the week for which interrupted transfers are kept. */
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Scene } from "./godwit.ts";

let scene: Scene;

/** Names as docs/spec/files.md §5 gives them: a journal and a staging file of one job. */
const JOB = "0123456789abcdef";
const LEFT = [`.godwit-${JOB}.journal`, `sub/.godwit-${JOB}-fedcba9876543210.part`];

/** A server tidies when it has begun to listen, and does not say when it is done. */
const TIDIED = { timeout: 240_000 };

beforeEach(() => {
  scene = new Scene();
  mkdirSync(scene.path("inbox/sub"), { recursive: true });
  writeFileSync(scene.path("inbox", LEFT[0]), "journal");
  writeFileSync(scene.path("inbox", LEFT[1]), "half a file");
  writeFileSync(scene.path("inbox/keep"), "");
});

afterEach(() => scene.close());

const age = (path: string, days: number): void => {
  const seconds = Date.now() / 1_000 - days * 86_400;
  utimesSync(scene.path("inbox", path), seconds, seconds);
};

/** Everything in the inbox. */
const there = (): string[] => readdirSync(scene.path("inbox"), { recursive: true }).map(String).toSorted();

test("removes what interrupted transfers left, and nothing else", async () => {
  const planned = await scene.run("me", ["clean", "inbox", "--dry-run", "--json"]);
  expect(planned.events[0]).toMatchObject({
    event: "leftover",
    job: JOB,
    files: 2,
    bytes: 18,
    state: "would-remove",
  });
  expect(there()).toContain(LEFT[0]);
  const young = await scene.run("me", ["clean", "inbox", "--older-than", "1d"]);
  expect([young.status, young.stderr]).toEqual([0, "nothing is left of interrupted transfers\n"]);
  expect((await scene.run("me", ["clean", "inbox"])).status).toBe(0);
  expect(there()).toEqual(["keep", "sub"]);
});

test("a server removes what is older than a week when it starts, and keeps the rest", async () => {
  const other = ".godwit-fedcba9876543210.journal";
  writeFileSync(scene.path("inbox", other), "journal of another job");
  age(other, 8);
  for (const name of LEFT) age(name, 6);
  await scene.serve("server", "inbox");
  await expect.poll(there, TIDIED).toEqual(["keep", "sub", ...LEFT].toSorted());
  for (const name of LEFT) age(name, 8);
  await scene.serve("other", "inbox");
  await expect.poll(there, TIDIED).toEqual(["keep", "sub"]);
});

test("a directory that is not there", async () => {
  const ended = await scene.run("me", ["clean", "nowhere"]);
  expect([ended.status, ended.stderr.split("\n").length]).toEqual([4, 2]);
});
