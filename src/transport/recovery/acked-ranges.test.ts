import { expect, test } from "vitest";
import * as fc from "fast-check";
import { AckedRanges } from "./acked-ranges.ts";

function open(acked: AckedRanges, ranges: [low: number, high: number][], lowest = 0): [number, number][] {
  acked.handleAck(ranges.flat(), ranges.length, lowest);
  return Array.from({ length: acked.openCount }, (_, i) => [acked.openLows[i], acked.openHighs[i]]);
}

test("only what the ACK before did not say", () => {
  const acked = new AckedRanges();
  expect(open(acked, [[3, 5]])).toEqual([[3, 5]]);
  expect(open(acked, [[3, 5]])).toEqual([]);
  expect(open(acked, [[1, 8]])).toEqual([
    [6, 8],
    [1, 2],
  ]);
  // An older ACK that comes late, and one whose lower part does not matter any more.
  expect(open(acked, [[3, 5]])).toEqual([]);
  expect(
    open(
      acked,
      [
        [9, 9],
        [0, 1],
      ],
      2,
    ),
  ).toEqual([[9, 9]]);
});

test("whatever two ACKs say: each number that is new is told once, highest first", () => {
  const ranges = fc.uniqueArray(fc.nat(60), { minLength: 1, maxLength: 40 }).map((numbers) => {
    const found: [number, number][] = [];
    for (const number of numbers.toSorted((a, b) => b - a)) {
      const last = found.at(-1);
      if (last !== undefined && last[0] === number + 1) last[0] = number;
      else found.push([number, number]);
    }
    return found;
  });
  const numbersOf = (list: [number, number][]): number[] =>
    list.flatMap(([low, high]) => Array.from({ length: high - low + 1 }, (_, i) => high - i));
  fc.assert(
    fc.property(ranges, ranges, (first, second) => {
      const acked = new AckedRanges();
      open(acked, first);
      const known = new Set(numbersOf(first));
      expect(numbersOf(open(acked, second))).toEqual(
        numbersOf(second).filter((number) => !known.has(number)),
      );
    }),
  );
});
