import { expect, test } from "vitest";
import { receiptName } from "./fleet.ts";

test("receivers whose addresses differ in punctuation only have receipts of their own", () => {
  const taken = new Set<string>();
  const names = ["lab:4639", "lab_4639", "[::1]:4639", "lab/4639"].map((target) => {
    const name = receiptName(target, taken);
    taken.add(name);
    return name;
  });
  expect(names).toEqual(["lab_4639", "lab_4639_2", "_1_4639", "lab_4639_3"]);
});
