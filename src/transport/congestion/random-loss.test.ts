import { expect, test } from "vitest";
import { RandomLoss } from "./random-loss.ts";

test("the least of two observations of 150 packets counts", () => {
  const random = new RandomLoss();
  random.handleQuietLoss(30, 149);
  expect(random.rate).toBe(0); // not enough yet
  random.handleQuietLoss(0, 1);
  expect(random.rate).toBe(0); // 20 %, and nothing known before it
  random.handleQuietLoss(15, 150);
  expect(random.rate).toBe(0.1);
  random.handleQuietLoss(30, 150);
  expect(random.rate).toBe(0.1);
  random.handleQuietLoss(30, 150);
  expect(random.rate).toBe(0.2);
});

test("a test that confirms counts at once, and at most one half is compensated for", () => {
  const random = new RandomLoss();
  random.confirm(0.2);
  expect(random.rate).toBe(0.2);
  random.confirm(0.8);
  expect(random.rate).toBe(0.5);
});

test("far less loss than believed counts at once", () => {
  const random = new RandomLoss();
  random.confirm(0.2);
  // Three standard errors of 20 % in 50 packets are 17 %: 2 of 50 is not far enough, none is.
  random.handleQuietLoss(2, 50);
  expect(random.rate).toBe(0.2);
  random.handleQuietLoss(0, 50);
  expect(random.rate).toBe(0);
});

test("what chance explains: the rate and three standard errors", () => {
  const random = new RandomLoss();
  // At least 1 % is assumed: 3 * sqrt(0.01 * 0.99 / 99) = 0.03.
  expect(random.expectedAtMost(99)).toBeCloseTo(0.03, 10);
  // For those who give way to everybody 0.1 %: 3 * sqrt(0.001 * 0.999 / 111) = 0.009.
  expect(random.likelyAtMost(111)).toBeCloseTo(0.009, 10);
  random.confirm(0.2);
  // 0.2 + 3 * sqrt(0.16 / 400) = 0.26.
  expect(random.expectedAtMost(400)).toBeCloseTo(0.26, 10);
});
