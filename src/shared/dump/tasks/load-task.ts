import type { MachineHandle } from '../../machine-handle.ts';
import type { WasmModule } from '../../wasm.ts';
import type { FerryReach } from '../ferry.ts';
import type { PhaseTask } from './phase-task.ts';
import type { SourceReach } from './source-reach.ts';

/** The task of the load phase. */
export interface LoadTask extends PhaseTask {
  readonly machine: MachineHandle;
  /** Thread id of the worker in that machine, taken by the main thread. */
  readonly thread: number;
  /** Slots and generations of the mms, by ordinal. */
  readonly mms: readonly { readonly slot: number; readonly generation: number }[];
  readonly source: SourceReach;
  /**
   * The number of pages with content that the source can have (CONTENT runs). The phase stops when
   * it has found as many. 0 if the number is not known.
   */
  readonly enough: number;
  /** The records of LoadList. */
  readonly loads: SharedArrayBuffer;
  /** The module xxh3-inside. */
  readonly digestKernel: WasmModule;
  /** First run of each unit, and one more word: the run after the last unit. */
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
  /** The worker's own: see PassTask. */
  readonly ferry: FerryReach | undefined;
}
