/** The world of one run: two hosts, their links, and the plan's faults on the clock. */
import { HEALED } from "../link-config.ts";
import type { SimHost } from "../host.ts";
import { World } from "../world.ts";
import { livenessBoundUs } from "./plan.ts";
import type { PlanAction, PlanSide, SwarmPlan } from "./plan.ts";

/** Time a session that died under the faults may take to notice, in microseconds: the idle timeout. */
const NOTICE_US = 60_000_000;

/** Two hosts with a plan. */
export class Stage {
  readonly world: World;
  readonly plan: SwarmPlan;
  readonly hosts: Readonly<Record<PlanSide, SimHost>>;
  readonly beginUs: number;
  /** When the last fault is over. */
  readonly healedUs: number;
  /** When the run must be complete. */
  readonly deadlineUs: number;

  constructor(plan: SwarmPlan) {
    this.plan = plan;
    this.world = new World(plan.seed);
    const sender = this.world.addHost("sender");
    const receiver = this.world.addHost("receiver");
    this.hosts = { sender, receiver };
    this.world.connect(sender, receiver, plan.up, plan.down);
    this.beginUs = this.world.nowUs;
    const ends = plan.actions.map(({ atUs, spanUs }) => atUs + spanUs);
    this.healedUs = this.beginUs + Math.max(plan.healAtUs, ...ends);
    this.deadlineUs = this.healedUs + NOTICE_US + livenessBoundUs(plan);
  }

  /** Whether all faults are over. */
  get isHealed(): boolean {
    return this.world.nowUs >= this.healedUs;
  }

  /**
   * Puts the plan's faults on the clock.
   * @param onProcess - Told kills and power cuts when they happen.
   * @param onHealed - Called when the links have healed.
   */
  begin(onProcess: (action: PlanAction) => void, onHealed: () => void): void {
    const { world, plan } = this;
    for (const action of plan.actions) {
      world.clock.at(this.beginUs + action.atUs, () => {
        const host = this.hosts[action.side];
        if (action.kind === "rebind") host.rebind();
        else if (action.kind === "move") host.move();
        else if (action.kind === "pause") host.pause(action.spanUs);
        else onProcess(action);
      });
    }
    world.clock.at(this.beginUs + plan.healAtUs, () => {
      for (const hop of world.links) hop.configure(HEALED);
    });
    world.clock.at(this.healedUs, onHealed);
  }
}
