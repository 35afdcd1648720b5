/**
 * Faults that tests inject on the main thread, at points of a sink or dump (`shared/faults.ts`).
 */
import { type Check, isArray, read } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { type FaultPlan, type FaultPoint, faultAt, systemError } from '../../shared/faults.ts';

/** Throws the error of a failed system call, if a test asks for that at this pass of the point. */
export function failCallAt(point: FaultPoint, plan: FaultPlan): void {
  const action = plan.armed && faultAt(plan.armed, point);
  if (action?.kind === 'errno') throw systemError(action.errno, point);
}

/** Throws what V8 throws when there is no memory for a buffer, if a test asks for that now. */
export function failMemoryAt(point: 'table' | 'buffer', plan: FaultPlan | undefined): void {
  const action = plan?.armed && faultAt(plan.armed, point);
  if (action?.kind === 'deny') throw new RangeError('Array buffer allocation failed');
}

/** Checks a plan. It is not copied, since its owner arms the same object anew for every job. */
export const FAULT_PLAN: Check<FaultPlan> = (what, value) => {
  const armed = read(value, 'armed');
  const isArmed = isArray(read(armed, 'faults'));
  const isPlan = typeof value === 'object' && value !== null && (armed === undefined || isArmed);
  if (isPlan && (isArmed || hasKey(value, 'armed'))) return value as FaultPlan;
  throw refusal(what, value, 'a plan of faults, { armed }');
};

function hasKey(value: object, key: string): boolean {
  try {
    return Object.hasOwn(value, key);
  } catch {
    return false; // a proxy that throws
  }
}
