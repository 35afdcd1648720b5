/** The built-in workloads, for whoever only lists them. */
export const WORKLOADS = ['dense', 'sparse', 'manymaps', 'mixed'] as const;
export type WorkloadName = (typeof WORKLOADS)[number];
