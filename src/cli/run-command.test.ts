import { describe, expect, test } from "vitest";
import { usageSentence } from "./run-command.ts";

describe("a wrong command line is one sentence", () => {
  test.each([
    [
      `error: option '--rate <rate>' argument '5x' is invalid. "5x" is not a rate; write it like 50mbit\n`,
      `--rate: "5x" is not a rate; write it like 50mbit`,
    ],
    [
      "error: option '--cc <controller>' argument 'reno' is invalid. Allowed choices are bbr, cubic, newreno.\n",
      '--cc: "reno" is not one of bbr, cubic, newreno',
    ],
    [
      `error: command-argument value 'x' is invalid for argument 'port'. a port is a whole number from 1 to 65535, not "x"\n`,
      'PORT: a port is a whole number from 1 to 65535, not "x"',
    ],
    [`error: option '--rate <rate>' argument 'it's\nis invalid. ' is invalid. no rate\n`, "--rate: no rate"],
    ["error: unknown option '--bogus'\n", "unknown option '--bogus'; see godwit send --help"],
    [
      "error: unknown option '--overwite'\n(Did you mean --overwrite?)\n",
      "unknown option '--overwite'; did you mean --overwrite?; see godwit send --help",
    ],
    [
      "error: too many arguments. Expected 1 argument but got 2.\n",
      "too many arguments. Expected 1 argument but got 2; see godwit send --help",
    ],
  ])("%j", (words, sentence) => {
    expect(usageSentence(words, "godwit send")).toBe(sentence);
  });
});
