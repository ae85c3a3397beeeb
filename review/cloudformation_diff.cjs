// What CloudFormation would do with each resource: @aws-cdk/cloudformation-diff, which knows which property replaces.
// Standard input: [[base template, head template], …]. Standard output: for each pair, the resources that differ.
const { fullDiff } = require('@aws-cdk/cloudformation-diff');

const pairs = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const answers = pairs.map(([base, head]) => {
  const resources = [];
  fullDiff(base, head).resources.forEachDifference((id, change) => {
    resources.push({
      id,
      type: change.resourceType,
      impact: change.changeImpact,
      properties: Object.entries(change.propertyUpdates)
        .filter(([, update]) => update.isDifferent)
        .map(([name, update]) => ({ name, impact: update.changeImpact })),
      others: Object.entries(change.otherChanges).filter(([, other]) => other.isDifferent).map(([name]) => name),
    });
  });
  return resources;
});
process.stdout.write(JSON.stringify(answers));
