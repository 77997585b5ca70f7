//! The rules of one parsed statement.

use sqlparser::ast::{
    AlterTableOperation, Assignment, AssignmentTarget, BinaryOperator, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Insert, ObjectName, OnConflictAction, OnInsert, SetExpr, SqliteOnConflict,
    Statement as Parsed, TableConstraint, TableFactor,
};
use sqlparser::keywords::Keyword;

use super::super::known::Names;
use super::super::rule::{self, Rule};
use super::Statement;
use super::head::{Head, emptied, empty, gone, is_gone_with, loads};

/// Deepest part of an expression that is looked at.
const MAX_DEPTH: usize = 8;

pub(super) fn rules(parsed: &Parsed, statement: &Statement<'_>, known: &mut Names) -> Vec<&'static Rule> {
    emptied(statement, known);
    match parsed {
        Parsed::Insert(insert) => insert_rules(insert, statement, known),
        Parsed::Update(update) => {
            let own = name_of(&update.table.relation);
            let narrowed = |column: &str| {
                update
                    .selection
                    .as_ref()
                    .is_some_and(|selection| mentions(selection, column, 0))
            };
            if is_relative(&update.assignments, narrowed) && !known.contains(&empty(&own)) {
                vec![&rule::SQL_UPDATE]
            } else {
                Vec::new()
            }
        }
        Parsed::AlterTable(alter) => alter
            .operations
            .iter()
            .filter_map(|o| alter_rule(o, &last(&alter.name), known))
            .collect(),
        Parsed::Copy {
            to: false, source, ..
        } => match source {
            sqlparser::ast::CopySource::Table { table_name, .. }
                if known.contains(&empty(&last(table_name))) =>
            {
                Vec::new()
            }
            _ => vec![&rule::SQL_COPY],
        },
        Parsed::Query(query) => match query.body.as_ref() {
            SetExpr::Insert(inner) | SetExpr::Update(inner) => rules(inner, statement, known),
            _ => Vec::new(),
        },
        Parsed::CreateTable(table) if table.temporary => {
            known.insert(empty(&last(&table.name)));
            Vec::new()
        }
        _ => match Head::of(statement) {
            Some(head) => head.rules(known),
            None => loads(statement, known).into_iter().collect(),
        },
    }
}

fn insert_rules(insert: &Insert, statement: &Statement<'_>, known: &Names) -> Vec<&'static Rule> {
    if let Some(on) = &insert.on {
        let assignments = match on {
            OnInsert::DuplicateKeyUpdate(assignments) => assignments.as_slice(),
            OnInsert::OnConflict(conflict) => match &conflict.action {
                OnConflictAction::DoUpdate(update) if update.selection.is_none() => {
                    update.assignments.as_slice()
                }
                _ => &[],
            },
            _ => &[],
        };
        return if is_relative(assignments, |_| false) {
            vec![&rule::SQL_UPDATE]
        } else {
            Vec::new()
        };
    }
    let lenient = insert.ignore
        || insert.replace_into
        || insert.overwrite
        || matches!(
            insert.or,
            Some(SqliteOnConflict::Ignore | SqliteOnConflict::Replace)
        );
    let asks = statement.has(&[Keyword::NOT, Keyword::EXISTS])
        || statement.has(&[Keyword::EXCEPT])
        || statement.has(&[Keyword::NOT, Keyword::IN])
        || (statement.has(&[Keyword::JOIN]) && statement.has(&[Keyword::IS, Keyword::NULL]));
    let empty = match &insert.table {
        sqlparser::ast::TableObject::TableName(name) => {
            let schema = name.0.iter().rev().nth(1).and_then(|part| part.as_ident());
            let dropped = schema.is_some_and(|schema| is_gone_with(&schema.value.to_lowercase(), known));
            dropped || known.contains(&empty(&last(name)))
        }
        _ => false,
    };
    if lenient || asks || empty {
        Vec::new()
    } else {
        vec![&rule::SQL_INSERT]
    }
}

fn alter_rule(operation: &AlterTableOperation, table: &str, known: &mut Names) -> Option<&'static Rule> {
    let part = |kind: Keyword, name: &str| gone(kind, &format!("{table}.{}", name.to_lowercase()));
    match operation {
        AlterTableOperation::AddColumn {
            if_not_exists,
            column_def,
            ..
        } => {
            let gone = known.contains(&part(Keyword::COLUMN, &column_def.name.value));
            (!if_not_exists && !gone).then_some(&rule::SQL_ADD_COLUMN)
        }
        AlterTableOperation::AddConstraint { constraint, .. } => {
            let gone = constraint_name(constraint)
                .is_some_and(|name| known.contains(&part(Keyword::CONSTRAINT, &name)));
            (!gone).then_some(&rule::SQL_ADD_CONSTRAINT)
        }
        AlterTableOperation::DropColumn {
            if_exists,
            column_names,
            ..
        } => {
            for name in column_names {
                known.insert(part(Keyword::COLUMN, &name.value));
            }
            (!if_exists).then_some(&rule::SQL_DROP)
        }
        AlterTableOperation::DropConstraint { if_exists, name, .. } => {
            known.insert(part(Keyword::CONSTRAINT, &name.value));
            (!if_exists).then_some(&rule::SQL_DROP)
        }
        AlterTableOperation::RenameColumn { .. }
        | AlterTableOperation::RenameTable { .. }
        | AlterTableOperation::RenameConstraint { .. } => Some(&rule::SQL_RENAME),
        _ => None,
    }
}

fn constraint_name(constraint: &TableConstraint) -> Option<String> {
    let name = match constraint {
        TableConstraint::Unique(constraint) => constraint.name.as_ref(),
        TableConstraint::PrimaryKey(constraint) => constraint.name.as_ref(),
        TableConstraint::ForeignKey(constraint) => constraint.name.as_ref(),
        TableConstraint::Check(constraint) => constraint.name.as_ref(),
        _ => None,
    };
    name.map(|name| name.value.to_lowercase())
}

/// Whether a column is computed from itself, and no condition (`narrowed`) says which rows still need it.
fn is_relative(assignments: &[Assignment], narrowed: impl Fn(&str) -> bool) -> bool {
    let target = |assignment: &Assignment| match &assignment.target {
        AssignmentTarget::ColumnName(name) => Some(last(name)),
        AssignmentTarget::Tuple(_) => None,
    };
    let asked = assignments
        .iter()
        .filter_map(target)
        .any(|column| narrowed(&column));
    let relative = assignments.iter().any(|assignment| {
        target(assignment).is_some_and(|column| computes_from(&assignment.value, &column, 0))
    });
    relative && !asked
}

/// Whether an expression does sums with a column: `n + 1`, `name || 'x'`, `concat(name, 'x')`.
fn computes_from(value: &Expr, column: &str, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match value {
        Expr::Nested(inner) => computes_from(inner, column, depth + 1),
        Expr::BinaryOp { left, op, right } => {
            let sums = matches!(
                op,
                BinaryOperator::Plus
                    | BinaryOperator::Minus
                    | BinaryOperator::Multiply
                    | BinaryOperator::Divide
                    | BinaryOperator::StringConcat
            );
            sums && (mentions(left, column, depth + 1) || mentions(right, column, depth + 1))
        }
        Expr::Function(function) if last(&function.name).starts_with("concat") => {
            arguments(&function.args).any(|argument| mentions(argument, column, depth + 1))
        }
        _ => false,
    }
}

/// Whether a column is named in the outer parts of an expression.
fn mentions(value: &Expr, column: &str, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let inner = |value: &Expr| mentions(value, column, depth + 1);
    match value {
        Expr::Identifier(name) => name.value.to_lowercase() == column,
        Expr::CompoundIdentifier(parts) => parts
            .last()
            .is_some_and(|name| name.value.to_lowercase() == column),
        Expr::Nested(value)
        | Expr::UnaryOp { expr: value, .. }
        | Expr::IsNull(value)
        | Expr::IsNotNull(value)
        | Expr::In { expr: value, .. }
        | Expr::Cast { expr: value, .. }
        | Expr::Like { expr: value, .. }
        | Expr::Between { expr: value, .. } => inner(value),
        Expr::BinaryOp { left, right, .. } => inner(left) || inner(right),
        Expr::Function(function) => arguments(&function.args).any(inner),
        _ => false,
    }
}

fn arguments(arguments: &FunctionArguments) -> impl Iterator<Item = &Expr> {
    let list = match arguments {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    })
}

fn name_of(table: &TableFactor) -> String {
    match table {
        TableFactor::Table { name, .. } => last(name),
        _ => String::new(),
    }
}

/// The last part of a name, in small letters.
fn last(name: &ObjectName) -> String {
    let part = name.0.last().and_then(|part| part.as_ident());
    part.map(|name| name.value.to_lowercase()).unwrap_or_default()
}
