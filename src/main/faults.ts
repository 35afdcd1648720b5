/** Faults on the main thread (`src/shared/faults.ts`): what a sink or dump is told at a point. */
import { type FaultPlan, type FaultPoint, faultAt, systemError } from '../shared/faults.ts';

/** Throws what the system would at a call, if a test asks for that now. */
export function failCallAt(point: FaultPoint, plan: FaultPlan): void {
  const action = plan.armed && faultAt(plan.armed, point);
  if (action?.kind === 'errno') throw systemError(action.errno, point);
}

/** Throws what V8 does where there is no memory for a buffer, if a test asks for that now. */
export function failMemoryAt(point: 'table' | 'buffer', plan: FaultPlan | undefined): void {
  const action = plan?.armed && faultAt(plan.armed, point);
  if (action?.kind === 'deny') throw new RangeError('Array buffer allocation failed');
}
