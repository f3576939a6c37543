import { describe, expect, test } from "vitest";
import { ECN } from "../../wire/batch.ts";
import { EcnValidation } from "./ecn.ts";

const counts = (ect0: number, ce: number, ect1 = 0): { ect0: number; ect1: number; ce: number } => ({
  ect0,
  ect1,
  ce,
});

/** A path on which ten packets were marked. */
function tested(): EcnValidation {
  const ecn = new EcnValidation();
  for (let i = 0; i < 10; i++) {
    expect(ecn.codepoint).toBe(ECN.ect0);
    ecn.handleSent();
  }
  return ecn;
}

/** A path that was found to carry marks: ten of ECT(0) came through. */
function capable(): EcnValidation {
  const ecn = tested();
  ecn.handleAck(10, true, counts(10, 0));
  return ecn;
}

describe("validation", () => {
  test("marks ten packets, waits, and goes on when they are counted", () => {
    const ecn = tested();
    expect([ecn.state, ecn.codepoint]).toEqual(["unknown", ECN.notEct]);
    expect(ecn.handleAck(2, true, counts(2, 0))).toBe(0);
    expect([ecn.state, ecn.codepoint]).toEqual(["capable", ECN.ect0]);
    // Two of the next eight met congestion; one more mark than is acknowledged is a lost ACK's.
    expect(ecn.handleAck(8, true, counts(9, 2))).toBe(2);
    expect(ecn.state).toBe("capable");
  });

  test.each([
    ["an ACK without counts: the peer, or the socket, does not see marks", undefined],
    ["marks erased on the way", counts(1, 0)],
    ["ECT(0) made ECT(1)", counts(1, 0, 1)],
  ])("fails on %s", (_, seen) => {
    const ecn = tested();
    ecn.handleAck(2, true, seen);
    expect([ecn.state, ecn.codepoint]).toEqual(["failed", ECN.notEct]);
    ecn.handleAck(8, true, counts(10, 0));
    expect(ecn.state).toBe("failed");
  });

  test("fails when all ten were lost, not when nine were", () => {
    const ecn = tested();
    for (let i = 0; i < 9; i++) ecn.handleLost();
    expect(ecn.state).toBe("unknown");
    ecn.handleLost();
    expect(ecn.state).toBe("failed");
  });

  test("fails when all ten came with CE: that path marks everything", () => {
    const ecn = tested();
    expect(ecn.handleAck(5, true, counts(0, 5))).toBe(0);
    expect(ecn.state).toBe("unknown");
    expect(ecn.handleAck(5, true, counts(0, 10))).toBe(0);
    expect(ecn.state).toBe("failed");
  });

  test("an ACK that came late proves nothing", () => {
    const ecn = capable();
    expect(ecn.handleAck(1, false, counts(4, 0))).toBe(0);
    expect(ecn.state).toBe("capable");
  });

  test("counts that go back fail", () => {
    const ecn = capable();
    ecn.handleAck(0, true, counts(9, 1));
    expect(ecn.state).toBe("failed");
  });
});

describe("later", () => {
  test("three timeouts in a row: marked packets may be what the path drops", () => {
    const ecn = capable();
    ecn.handleProbeTimeout(2);
    expect(ecn.codepoint).toBe(ECN.ect0);
    ecn.handleProbeTimeout(3);
    expect(ecn.codepoint).toBe(ECN.notEct);
  });

  test("twelve round trips of nothing but CE end it, eleven and one packet without do not", () => {
    const ecn = capable();
    let ce = 0;
    const rounds = (count: number): void => {
      for (let i = 0; i < count; i++) {
        ce += 10;
        ecn.handleAck(10, true, counts(10, ce));
        ecn.handleRound();
      }
    };
    ecn.handleRound();
    rounds(11);
    ecn.handleAck(1, true, counts(11, ce));
    ecn.handleRound();
    expect(ecn.state).toBe("capable");
    const other = capable();
    other.handleRound();
    for (let i = 1; i <= 12; i++) {
      expect(other.handleAck(10, true, counts(10, 10 * i))).toBe(10);
      other.handleRound();
    }
    expect(other.state).toBe("failed");
    expect(other.handleAck(10, true, counts(10, 130))).toBe(0);
  });

  test("another path is tested anew, with what the peer has counted before", () => {
    const ecn = capable();
    ecn.handleAck(10, true, undefined);
    expect(ecn.state).toBe("failed");
    ecn.handleAck(0, true, counts(10, 0));
    ecn.handlePathChange();
    expect(ecn.codepoint).toBe(ECN.ect0);
    for (let i = 0; i < 10; i++) ecn.handleSent();
    ecn.handleAck(3, true, counts(13, 0));
    expect(ecn.state).toBe("capable");
  });
});
