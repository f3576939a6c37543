import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { RangeSet } from "./range-set.ts";

describe("RangeSet", () => {
  test("merges ranges that touch or overlap and counts what was new", () => {
    const set = new RangeSet();
    expect(set.add(0, 3)).toBe(3);
    expect(set.add(5, 7)).toBe(2);
    expect(set.add(3, 5)).toBe(2);
    expect(set.toArray()).toEqual([[0, 7]]);
    expect(set.add(6, 10)).toBe(3);
    expect(set.size).toBe(10);
    expect(set.end).toBe(10);
  });

  test("removing from the middle splits a range", () => {
    const set = new RangeSet();
    set.add(0, 10);
    expect(set.remove(4, 6)).toBe(2);
    expect(set.toArray()).toEqual([
      [0, 4],
      [6, 10],
    ]);
    expect(set.nextMissing(2)).toBe(4);
    expect(set.nextPresent(4)).toBe(6);
    expect(set.nextPresent(10)).toBeUndefined();
  });

  test("behaves as a plain set of numbers", () => {
    const operation = fc.record({ add: fc.boolean(), at: fc.nat(60), length: fc.nat(12) });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const set = new RangeSet();
        const model = new Set<number>();
        for (const { add, at, length } of operations) {
          const before = model.size;
          for (let i = at; i < at + length; i++) {
            if (add) model.add(i);
            else model.delete(i);
          }
          const changed = add ? set.add(at, at + length) : set.remove(at, at + length);
          expect(changed).toBe(Math.abs(model.size - before));
        }
        expect(set.size).toBe(model.size);
        for (let i = 0; i < 80; i++) expect(set.has(i)).toBe(model.has(i));
        const ranges = set.toArray();
        for (let i = 1; i < ranges.length; i++) expect(ranges[i][0]).toBeGreaterThan(ranges[i - 1][1]);
        for (let from = 0; from < 80; from++) {
          let missing = from;
          while (model.has(missing)) missing++;
          expect(set.nextMissing(from)).toBe(missing);
          expect(set.hasRange(from, missing)).toBe(true);
        }
      }),
    );
  });
});
