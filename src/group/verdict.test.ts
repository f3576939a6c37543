import { expect, test } from "vitest";
import type { ErrorCode } from "../base/errors.ts";
import { groupVerdict, verdictOf, type ReceiverEnd, type ReceiverVerdict } from "./verdict.ts";

test.each<[ErrorCode | undefined, number, boolean, ReceiverVerdict]>([
  [undefined, 0, true, "verified"],
  [undefined, 1, true, "resumed"],
  ["PARTIAL", 0, true, "partial"],
  ["NOT_AUTHORIZED", 0, false, "refused"],
  ["EXISTS", 0, true, "refused"],
  ["BUSY", 0, true, "refused"],
  ["HANDSHAKE_TIMEOUT", 0, false, "unreachable"],
  ["NO_PROGRESS", 0, true, "timed-out"],
  ["NO_SPACE", 0, true, "failed"],
  ["SOURCE_CHANGED", 0, true, "failed"],
])("%s with %i bytes from before, connected: %s", (code, resumed, wasConnected, verdict) => {
  expect(verdictOf(code, resumed, wasConnected, undefined)).toBe(verdict);
});

test("ended from here", () => {
  expect(verdictOf("NO_PROGRESS", 0, true, "deadline")).toBe("timed-out");
  expect(verdictOf("NO_PROGRESS", 0, false, "deadline")).toBe("unreachable");
  expect(verdictOf("INTERRUPTED", 0, true, "quorum")).toBe("stopped");
  // Its last word came before the stop did.
  expect(verdictOf(undefined, 0, true, "quorum")).toBe("verified");
});

function end(verdict: ReceiverVerdict, code?: ErrorCode): ReceiverEnd {
  return { verdict, code, text: code ?? "", outcome: undefined };
}

test("the verdict over all: 0 only if all, 3 if some, else what they have in common", () => {
  expect(groupVerdict([end("verified"), end("resumed")]).code).toBeUndefined();
  expect(groupVerdict([end("verified"), end("unreachable", "UNREACHABLE")]).code).toBe("PARTIAL");
  expect(groupVerdict([end("partial", "PARTIAL"), end("refused", "EXISTS")]).code).toBe("PARTIAL");
  // Both end with exit status 6.
  expect(groupVerdict([end("unreachable", "HANDSHAKE_TIMEOUT"), end("timed-out", "NO_PROGRESS")]).code).toBe(
    "HANDSHAKE_TIMEOUT",
  );
  expect(groupVerdict([end("refused", "EXISTS"), end("unreachable", "UNREACHABLE")]).code).toBe("PARTIAL");
});
