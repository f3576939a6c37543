import { expect, test } from "vitest";
import { parseListen, parseTarget } from "./target.ts";

test.each([
  ["lab1", "lab1", 4639, "", "lab1:4639"],
  ["lab1:5000/in/box", "lab1", 5000, "in/box", "lab1:5000"],
  ["10.0.0.1/", "10.0.0.1", 4639, "", "10.0.0.1:4639"],
  ["::1", "::1", 4639, "", "[::1]:4639"],
  ["[::1]:7000/a", "::1", 7000, "a", "[::1]:7000"],
  ["[fe80::1%eth0]/x", "fe80::1%eth0", 4639, "x", "[fe80::1%eth0]:4639"],
  ["@lab/x", "@lab", 4639, "x", "@lab:4639"],
])("%s", (text, host, port, path, address) => {
  expect(parseTarget(text)).toEqual({ host, port, path, address });
});

test.each(["", "/x", ":4639", "lab1:", "lab1:0", "lab1:65536", "lab1:x", "[::1", "[lab1]:5", "a:b:c", "a b"])(
  "%j is refused",
  (text) => expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: "USAGE" })),
);

test("places to listen", () => {
  expect(parseListen("5000")).toEqual({ host: undefined, port: 5000 });
  expect(parseListen(":0")).toEqual({ host: undefined, port: 0 });
  expect(parseListen("127.0.0.1:0")).toEqual({ host: "127.0.0.1", port: 0 });
  expect(parseListen("[::1]:4640")).toEqual({ host: "::1", port: 4640 });
  expect(() => parseListen("lab1:5/x")).toThrow(expect.objectContaining({ code: "USAGE" }));
});
