/** What the actors of agents throw, beside what all actors do: callers at other nodes tell them apart by these. */
import type { ErrorClass } from "../cluster/wire-errors.ts";
import {
  BlockLimitError,
  CoreLimitError,
  DuplicateBlockLabelError,
  InvalidMemoryError,
  MemoryNotFoundError,
  ScanLimitError,
  UnknownCursorError,
} from "../memory/memory.ts";
import { ModelError, ModelNotFoundError } from "../models/model.ts";
import { ToolNotFoundError } from "../tools/tool-record.ts";
import { ToolRuleError } from "../tools/tool-rules.ts";
import { AgentNotFoundError } from "./agent.ts";

export const agentErrors: readonly ErrorClass[] = [
  AgentNotFoundError,
  BlockLimitError,
  CoreLimitError,
  DuplicateBlockLabelError,
  InvalidMemoryError,
  MemoryNotFoundError,
  ModelError,
  ModelNotFoundError,
  ScanLimitError,
  ToolNotFoundError,
  ToolRuleError,
  UnknownCursorError,
];
