import { expect, test } from "vitest";
import { VirtualClock } from "./clock.ts";

function recorder(clock: VirtualClock, log: string[], name: string): { wake(nowUs: number): void } {
  return { wake: (nowUs) => void log.push(`${name}@${nowUs}=${clock.nowUs}`) };
}

test("events come in the order of their times, equal times in the order they were set", () => {
  const clock = new VirtualClock(100);
  const log: string[] = [];
  for (const [name, atUs] of [
    ["a", 300],
    ["b", 200],
    ["c", 300],
    ["d", 250],
  ] as const) {
    clock.schedule(recorder(clock, log, name), atUs);
  }
  while (clock.step(1_000));
  expect(log).toEqual(["b@200=200", "d@250=250", "a@300=300", "c@300=300"]);
  expect(clock.nowUs).toBe(1_000);
});

test("a sleeper has one time: earlier, later and never replace it", () => {
  const clock = new VirtualClock(0);
  const log: string[] = [];
  const a = recorder(clock, log, "a");
  clock.schedule(a, 500);
  clock.schedule(a, 200);
  clock.schedule(a, 700);
  while (clock.step(600));
  expect(log).toEqual([]);
  clock.schedule(a, Number.POSITIVE_INFINITY);
  expect(clock.step(Number.POSITIVE_INFINITY)).toBe(false);
  clock.schedule(a, 650);
  clock.schedule(a, 800);
  clock.schedule(a, 640);
  while (clock.step(10_000));
  expect(log).toEqual(["a@640=640"]);
});

test("the past means now, and time stops at the limit", () => {
  const clock = new VirtualClock(1_000);
  const log: string[] = [];
  clock.schedule(recorder(clock, log, "a"), 3);
  clock.at(1_500, (nowUs) => void log.push(`once@${nowUs}`));
  expect(clock.step(1_400)).toBe(true);
  expect(clock.step(1_400)).toBe(false);
  expect(log).toEqual(["a@1000=1000"]);
  expect(clock.step(1_500)).toBe(true);
  expect(log[1]).toBe("once@1500");
});
