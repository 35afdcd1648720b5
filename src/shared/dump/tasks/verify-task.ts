import type { WasmModule } from '../../wasm.ts';
import type { PhaseTask } from './phase-task.ts';
import type { SourceReach } from './source-reach.ts';

/** The task of the verify phase. */
export interface VerifyTask extends PhaseTask {
  readonly source: SourceReach;
  /** The words of PayloadTable. */
  readonly payloads: SharedArrayBuffer;
  /** The module xxh3-inside. */
  readonly digestKernel: WasmModule;
  /** First payload of each unit, and one more word: the payload after the last unit. */
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
}
