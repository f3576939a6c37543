import { expect, test } from "vitest";
import { jsonLine } from "./output.ts";

test("a JSON line has no raw control character and reads back as it was", () => {
  const value = { name: "\u001b[2J\u009b31m\u202egnp.exe\u2066\u007f\u200f\u00ad\u{e0041}\n", plain: "é漢" };
  const line = jsonLine(value);
  expect(line).toBe(
    '{"name":"\\u001b[2J\\u009b31m\\u202egnp.exe\\u2066\\u007f\\u200f\\u00ad\\udb40\\udc41\\n","plain":"é漢"}',
  );
  expect(JSON.parse(line)).toEqual(value);
});
