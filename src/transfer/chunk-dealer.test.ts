import { expect, test } from "vitest";
import { ChunkDealer } from "./chunk-dealer.ts";
import { SourceFile } from "./chunk-supply.ts";

const source = new SourceFile(undefined, "film");
const [first, second] = [{}, {}];

test("a chunk is dealt once", () => {
  const dealer = new ChunkDealer();
  expect(dealer.isDealt(source, 3)).toBe(false);
  dealer.deal(source, 3, 100, first);
  expect([dealer.isDealt(source, 3), dealer.isDealt(source, 4), dealer.dealtBytes]).toEqual([
    true,
    false,
    100,
  ]);
  expect(dealer.isDealt(new SourceFile(undefined, "film"), 3)).toBe(false);
});

test("what is on its way is not sent to others for 3 s, or twice as long as usual", () => {
  const dealer = new ChunkDealer();
  dealer.nowUs = 10_000_000;
  for (const index of [0, 1]) dealer.deal(source, index, 100, first);
  dealer.nowUs = 13_000_000;
  expect(dealer.mayRepeat(source, 0)).toBe(false);
  dealer.nowUs++;
  expect(dealer.mayRepeat(source, 0)).toBe(true);
  dealer.nowUs = 14_000_000;
  // Another lane's word changes nothing; the one that took 4 s makes 8 s the bound.
  dealer.handleDelivered(source, 0, second);
  dealer.handleDelivered(source, 0, first);
  expect([dealer.mayRepeat(source, 0), dealer.mayRepeat(source, 1)]).toEqual([true, false]);
  dealer.nowUs = 18_000_001;
  expect(dealer.mayRepeat(source, 1)).toBe(true);
});

test("what a lane that is over had on its way may be sent to others at once", () => {
  const dealer = new ChunkDealer();
  dealer.deal(source, 0, 100, first);
  dealer.deal(source, 1, 100, second);
  dealer.handleLaneOver(source, first);
  expect([dealer.mayRepeat(source, 0), dealer.mayRepeat(source, 1)]).toEqual([true, false]);
});
