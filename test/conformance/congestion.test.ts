import { bbr, polite } from "../../src/transport/congestion/bbr.ts";
import { cubic } from "../../src/transport/congestion/cubic.ts";
import { newReno } from "../../src/transport/congestion/newreno.ts";
import { congestionSuite } from "./congestion.suite.ts";

congestionSuite("bbr", bbr, { cleanShare: 0.95, twinShare: 0.35 });
congestionSuite("polite", polite, { cleanShare: 0.93, twinShare: 0.3 });
congestionSuite("cubic", cubic, { cleanShare: 0.9, twinShare: 0.3 });
congestionSuite("newreno", newReno, { cleanShare: 0.85, twinShare: 0.3 });
