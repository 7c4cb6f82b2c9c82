-- What Argo CD makes of a PortForward: Degraded when only its author can mend it, Progressing while the operator or a
-- proxy is at work, Healthy otherwise. A dead target leaves it Healthy, with a message: no sync can bring a host back.

local function text(condition)
  return condition.message or condition.reason or ""
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "being deleted"}
end
if status.observedGeneration == nil or conditions.Ready == nil then
  return {status = "Progressing", message = "the operator has not seen it yet"}
end
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this change yet"}
end
if is("Reconciling", "True") then
  return {status = "Progressing", message = text(conditions.Reconciling)}
end
if is("Stalled", "True") then
  return {status = "Degraded", message = text(conditions.Stalled)}
end
if not is("Ready", "True") then
  return {status = "Progressing", message = text(conditions.Ready)}
end
if is("NodesAvailable", "False") or is("NodesAvailable", "True") and conditions.NodesAvailable.reason == "SomeDead" then
  return {status = "Healthy", message = text(conditions.Ready) .. "; " .. text(conditions.NodesAvailable)}
end
return {status = "Healthy", message = text(conditions.Ready)}
